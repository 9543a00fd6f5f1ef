"""The fields of the classes that describe a pool and who talks to it.

Public interface facts of the XenAPI (release 26.x), one field a line: name, type, who may set it
(`rw` always, `new` only the constructor, `ro` nobody), and the default where there is one.
`schema.py` reads these texts; nothing else does.
"""

POOL = """class pool
uuid string ro
name_label string rw
name_description string rw
master ref:host ro
default_SR ref:SR rw
suspend_image_SR ref:SR rw
crash_dump_SR ref:SR rw
other_config map(string,string) rw
ha_enabled bool ro = false
ha_configuration map(string,string) ro = {}
ha_statefiles set(string) ro = []
ha_host_failures_to_tolerate int ro = 0
ha_plan_exists_for int ro = 0
ha_allow_overcommit bool rw = false
ha_overcommitted bool ro = false
blobs map(string,ref:blob) ro = {}
tags set(string) rw = []
gui_config map(string,string) rw = {}
health_check_config map(string,string) rw = {}
wlb_url string ro = ""
wlb_username string ro = ""
wlb_enabled bool rw = false
wlb_verify_cert bool rw = false
redo_log_enabled bool ro = false
redo_log_vdi ref:VDI ro = "OpaqueRef:NULL"
vswitch_controller string ro = ""
restrictions map(string,string) ro = {}
metadata_VDIs set(ref:VDI) ro
ha_cluster_stack string ro = ""
allowed_operations set(enum:pool_allowed_operations) ro = []
current_operations map(string,enum:pool_allowed_operations) ro = {}
guest_agent_config map(string,string) ro = {}
cpu_info map(string,string) ro = {}
policy_no_vendor_device bool rw = false
live_patching_disabled bool rw = false
igmp_snooping_enabled bool ro = false
uefi_certificates string new = ""
custom_uefi_certificates string new = ""
is_psr_pending bool rw = false
tls_verification_enabled bool ro = false
repositories set(ref:Repository) ro = []
client_certificate_auth_enabled bool ro = false
client_certificate_auth_name string ro = ""
repository_proxy_url string ro = ""
repository_proxy_username string ro = ""
repository_proxy_password ref:secret ro = "OpaqueRef:NULL"
migration_compression bool rw = false
coordinator_bias bool rw = true
local_auth_max_threads int new = 8
ext_auth_max_threads int new = 1
ext_auth_cache_enabled bool ro = true
ext_auth_cache_size int ro = 50
ext_auth_cache_expiry int ro = 300
telemetry_uuid ref:secret ro = "OpaqueRef:NULL"
telemetry_frequency enum:telemetry_frequency ro = "weekly"
telemetry_next_collection datetime ro = "19700101T00:00:00Z"
last_update_sync datetime ro = "19700101T00:00:00Z"
update_sync_frequency enum:update_sync_frequency ro = "weekly"
update_sync_day int ro = 0
update_sync_enabled bool ro = false
recommendations map(string,string) ro = {}
license_server map(string,string) rw = {}
ha_reboot_vm_on_internal_shutdown bool rw = true
limit_console_sessions bool rw = false
vm_console_idle_timeout int rw = 0
auto_update_vm_secureboot_certificates bool rw = false
"""

HOST = """class host
uuid string ro
name_label string rw = ""
name_description string rw = ""
memory_overhead int ro = 0
allowed_operations set(enum:host_allowed_operations) ro = []
current_operations map(string,enum:host_allowed_operations) ro = {}
API_version_major int ro
API_version_minor int ro
API_version_vendor string ro
API_version_vendor_implementation map(string,string) ro
enabled bool ro
software_version map(string,string) new
other_config map(string,string) rw
capabilities set(string) new
cpu_configuration map(string,string) ro
sched_policy string ro
supported_bootloaders set(string) ro
resident_VMs set(ref:VM) ro
logging map(string,string) rw
PIFs set(ref:PIF) ro
suspend_image_sr ref:SR rw
crash_dump_sr ref:SR rw
crashdumps set(ref:host_crashdump) ro
patches set(ref:host_patch) ro
updates set(ref:pool_update) ro
PBDs set(ref:PBD) ro
host_CPUs set(ref:host_cpu) ro
cpu_info map(string,string) ro = {}
hostname string rw
address string rw
metrics ref:host_metrics ro
license_params map(string,string) ro
ha_statefiles set(string) ro = []
ha_network_peers set(string) ro = []
blobs map(string,ref:blob) ro = {}
tags set(string) rw = []
external_auth_type string ro = ""
external_auth_service_name string ro = ""
external_auth_configuration map(string,string) ro = {}
edition string ro = ""
license_server map(string,string) rw = {"address": "localhost", "port": "27000"}
bios_strings map(string,string) ro = {}
power_on_mode string ro = ""
power_on_config map(string,string) ro = {}
local_cache_sr ref:SR new = "OpaqueRef:NULL"
chipset_info map(string,string) ro = {}
PCIs set(ref:PCI) ro
PGPUs set(ref:PGPU) ro
PUSBs set(ref:PUSB) ro
ssl_legacy bool new = true
guest_VCPUs_params map(string,string) rw = {}
display enum:host_display rw = "enabled"
virtual_hardware_platform_versions set(int) ro = [0]
control_domain ref:VM ro = "OpaqueRef:NULL"
updates_requiring_reboot set(ref:pool_update) ro
features set(ref:Feature) ro
iscsi_iqn string new = ""
multipathing bool new = false
uefi_certificates string new = ""
certificates set(ref:Certificate) ro
editions set(string) ro = []
pending_guidances set(enum:update_guidances) ro = []
tls_verification_enabled bool ro = false
last_software_update datetime ro = "19700101T00:00:00Z"
https_only bool ro = false
latest_synced_updates_applied enum:latest_synced_updates_applied_state ro = "unknown"
numa_affinity_policy enum:host_numa_affinity_policy ro = "default_policy"
pending_guidances_recommended set(enum:update_guidances) ro = []
pending_guidances_full set(enum:update_guidances) ro = []
last_update_hash string ro = ""
ssh_enabled bool ro = true
ssh_enabled_timeout int ro = 0
ssh_expiry datetime ro = "19700101T00:00:00Z"
console_idle_timeout int ro = 0
ssh_auto_mode bool ro = false
max_cstate string ro = ""
secure_boot bool ro = false
ntp_mode enum:host_ntp_mode ro = "Factory"
ntp_custom_servers set(string) ro = []
timezone string ro = "UTC"
"""

HOST_METRICS = """class host_metrics
uuid string ro
memory_total int ro
memory_free int ro = 0
live bool ro
last_updated datetime ro
other_config map(string,string) rw = {}
"""

NETWORK = """class network
uuid string ro
name_label string rw = ""
name_description string rw = ""
allowed_operations set(enum:network_operations) ro = []
current_operations map(string,enum:network_operations) ro = {}
VIFs set(ref:VIF) ro
PIFs set(ref:PIF) ro
MTU int rw = 1500
other_config map(string,string) rw
bridge string new = ""
managed bool new = true
blobs map(string,ref:blob) ro = {}
tags set(string) rw = []
default_locking_mode enum:network_default_locking_mode ro = "unlocked"
assigned_ips map(ref:VIF,string) ro = {}
purpose set(enum:network_purpose) ro = []
"""

PIF = """class PIF
uuid string ro
device string new
network ref:network new
host ref:host new
MAC string new
MTU int new
VLAN int new
metrics ref:PIF_metrics ro
physical bool ro = false
currently_attached bool ro = true
ip_configuration_mode enum:ip_configuration_mode ro = "None"
IP string ro = ""
netmask string ro = ""
gateway string ro = ""
DNS string ro = ""
bond_slave_of ref:Bond ro = "OpaqueRef:NULL"
bond_master_of set(ref:Bond) ro
VLAN_master_of ref:VLAN ro = "OpaqueRef:NULL"
VLAN_slave_of set(ref:VLAN) ro
management bool ro = false
other_config map(string,string) rw = {}
disallow_unplug bool ro = false
tunnel_access_PIF_of set(ref:tunnel) ro
tunnel_transport_PIF_of set(ref:tunnel) ro
ipv6_configuration_mode enum:ipv6_configuration_mode ro = "None"
IPv6 set(string) ro = []
ipv6_gateway string ro = ""
primary_address_type enum:primary_address_type ro = "IPv4"
managed bool new = true
properties map(string,string) ro = {}
capabilities set(string) ro = []
igmp_snooping_status enum:pif_igmp_status ro = "unknown"
sriov_physical_PIF_of set(ref:network_sriov) ro
sriov_logical_PIF_of set(ref:network_sriov) ro
PCI ref:PCI ro = "OpaqueRef:NULL"
"""

PIF_METRICS = """class PIF_metrics
uuid string ro
io_read_kbs float ro = 0
io_write_kbs float ro = 0
carrier bool ro
vendor_id string ro
vendor_name string ro
device_id string ro
device_name string ro
speed int ro
duplex bool ro
pci_bus_path string ro
last_updated datetime ro
other_config map(string,string) rw = {}
"""

SESSION = """class session
uuid string ro
this_host ref:host ro
this_user ref:user ro
last_active datetime ro
pool bool ro
other_config map(string,string) rw = {}
is_local_superuser bool ro = false
subject ref:subject ro = "OpaqueRef:NULL"
validation_time datetime ro = "19700101T00:00:00Z"
auth_user_sid string ro = ""
auth_user_name string ro = ""
rbac_permissions set(string) new = []
tasks set(ref:task) ro
parent ref:session new = "OpaqueRef:NULL"
originator string ro = ""
client_certificate bool ro = false
"""

TASK = """class task
uuid string ro
name_label string ro = ""
name_description string ro = ""
allowed_operations set(enum:task_allowed_operations) ro = []
current_operations map(string,enum:task_allowed_operations) ro = {}
created datetime ro
finished datetime ro
status enum:task_status_type ro
resident_on ref:host ro
progress float ro
type string ro
result string ro
error_info set(string) ro
other_config map(string,string) ro = {}
subtask_of ref:task ro = "OpaqueRef:NULL"
subtasks set(ref:task) ro
backtrace string ro = "()"
"""

MESSAGE = """class message
uuid string ro
name string ro
priority int ro
cls enum:cls ro
obj_uuid string ro
timestamp datetime ro
body string ro
"""

SECRET = """class secret
uuid string ro
value string rw
other_config map(string,string) rw = {}
"""

CERTIFICATE = """class Certificate
uuid string ro
name string ro = ""
type enum:certificate_type ro = "host"
host ref:host new = "OpaqueRef:NULL"
not_before datetime new = "19700101T00:00:00Z"
not_after datetime new = "19700101T00:00:00Z"
fingerprint string new = ""
fingerprint_sha256 string new = ""
fingerprint_sha1 string new = ""
purpose set(enum:certificate_purpose) new = []
"""

BLOB = """class blob
uuid string ro
name_label string rw = ""
name_description string rw = ""
size int ro
public bool rw = false
last_updated datetime new
mime_type string new
"""
