"""The fields of virtual machines and what hangs on them.

Public interface facts of the XenAPI (release 26.x), one field a line: name, type, who may set it
(`rw` always, `new` only the constructor, `ro` nobody), and the default where there is one.
`schema.py` reads these texts; nothing else does.
"""

VM = """class VM
uuid string ro
allowed_operations set(enum:vm_operations) ro = []
current_operations map(string,enum:vm_operations) ro = {}
name_label string rw = ""
name_description string rw = ""
power_state enum:vm_power_state new = "Halted"
user_version int rw
is_a_template bool rw
is_default_template bool ro = false
suspend_VDI ref:VDI new = "OpaqueRef:NULL"
resident_on ref:host ro
scheduled_to_be_resident_on ref:host ro = "OpaqueRef:NULL"
affinity ref:host rw
memory_overhead int ro = 0
memory_target int new = 0
memory_static_max int new
memory_dynamic_max int new
memory_dynamic_min int new
memory_static_min int new
VCPUs_params map(string,string) rw
VCPUs_max int new
VCPUs_at_startup int new
actions_after_softreboot enum:on_softreboot_behavior rw = "soft_reboot"
actions_after_shutdown enum:on_normal_exit rw
actions_after_reboot enum:on_normal_exit rw
actions_after_crash enum:on_crash_behaviour new
consoles set(ref:console) ro
VIFs set(ref:VIF) ro
VBDs set(ref:VBD) ro
VUSBs set(ref:VUSB) ro
crash_dumps set(ref:crashdump) ro
VTPMs set(ref:VTPM) ro
PV_bootloader string rw
PV_kernel string rw
PV_ramdisk string rw
PV_args string rw
PV_bootloader_args string rw
PV_legacy_args string rw
HVM_boot_policy string new
HVM_boot_params map(string,string) rw
HVM_shadow_multiplier float new = 1
platform map(string,string) new
PCI_bus string rw
other_config map(string,string) new
domid int ro
domarch string ro
last_boot_CPU_flags map(string,string) new = {}
is_control_domain bool ro
metrics ref:VM_metrics ro
guest_metrics ref:VM_guest_metrics ro
last_booted_record string new = ""
recommendations string rw
xenstore_data map(string,string) rw = {}
ha_always_run bool new = false
ha_restart_priority string new = ""
is_a_snapshot bool ro = false
snapshot_of ref:VM ro = "OpaqueRef:NULL"
snapshots set(ref:VM) ro
snapshot_time datetime ro = "19700101T00:00:00Z"
transportable_snapshot_id string ro = ""
blobs map(string,ref:blob) ro = {}
tags set(string) rw = []
blocked_operations map(enum:vm_operations,string) new = {}
snapshot_info map(string,string) ro = {}
snapshot_metadata string ro = ""
parent ref:VM ro = "OpaqueRef:NULL"
children set(ref:VM) ro
bios_strings map(string,string) ro = {}
protection_policy ref:VMPP new = "OpaqueRef:NULL"
is_snapshot_from_vmpp bool new = false
snapshot_schedule ref:VMSS new = "OpaqueRef:NULL"
is_vmss_snapshot bool new = false
appliance ref:VM_appliance new = "OpaqueRef:NULL"
start_delay int new = 0
shutdown_delay int new = 0
order int new = 0
VGPUs set(ref:VGPU) ro
attached_PCIs set(ref:PCI) ro
suspend_SR ref:SR rw = "OpaqueRef:NULL"
version int new = 0
generation_id string new = "0:0"
hardware_platform_version int rw = 0
has_vendor_device bool new = true
requires_reboot bool ro = false
reference_label string new = ""
domain_type enum:domain_type new = "unspecified"
NVRAM map(string,string) new = {}
pending_guidances set(enum:update_guidances) ro = []
pending_guidances_recommended set(enum:update_guidances) ro = []
pending_guidances_full set(enum:update_guidances) ro = []
groups set(ref:VM_group) ro
secureboot_certificates_state enum:vm_secureboot_certificates_state ro = "ok"
"""

VM_METRICS = """class VM_metrics
uuid string ro
memory_actual int ro
VCPUs_number int ro
VCPUs_utilisation map(int,float) ro = {}
VCPUs_CPU map(int,int) ro
VCPUs_params map(string,string) ro
VCPUs_flags map(int,set(string)) ro
state set(string) ro
start_time datetime ro
install_time datetime ro
last_updated datetime ro
other_config map(string,string) rw = {}
hvm bool ro = false
nested_virt bool ro = false
nomigrate bool ro = false
current_domain_type enum:domain_type ro = "unspecified"
numa_optimised bool new = false
numa_nodes int new = 0
numa_node_memory map(int,int) ro = {}
"""

VM_GUEST_METRICS = """class VM_guest_metrics
uuid string ro
os_version map(string,string) ro
netbios_name map(string,string) ro = {}
PV_drivers_version map(string,string) ro
PV_drivers_up_to_date bool ro
memory map(string,string) ro = {}
disks map(string,string) ro = {}
networks map(string,string) ro
other map(string,string) ro
last_updated datetime ro
other_config map(string,string) rw = {}
live bool ro = false
can_use_hotplug_vbd enum:tristate_type ro = "unspecified"
can_use_hotplug_vif enum:tristate_type ro = "unspecified"
PV_drivers_detected bool ro = false
services map(string,string) ro = {}
"""

VIF = """class VIF
uuid string ro
allowed_operations set(enum:vif_operations) ro = []
current_operations map(string,enum:vif_operations) ro = {}
device string new
network ref:network new
VM ref:VM new
MAC string new
MTU int new
other_config map(string,string) rw
currently_attached bool new = false
status_code int ro
status_detail string ro
runtime_properties map(string,string) ro
qos_algorithm_type string rw
qos_algorithm_params map(string,string) rw
qos_supported_algorithms set(string) ro
metrics ref:VIF_metrics ro = "OpaqueRef:NULL"
MAC_autogenerated bool ro = false
locking_mode enum:vif_locking_mode new = "network_default"
ipv4_allowed set(string) new = []
ipv6_allowed set(string) new = []
ipv4_configuration_mode enum:vif_ipv4_configuration_mode ro = "None"
ipv4_addresses set(string) ro = []
ipv4_gateway string ro = ""
ipv6_configuration_mode enum:vif_ipv6_configuration_mode ro = "None"
ipv6_addresses set(string) ro = []
ipv6_gateway string ro = ""
trunks set(int) new = []
"""

VTPM = """class VTPM
uuid string ro
allowed_operations set(enum:vtpm_operations) ro = []
current_operations map(string,enum:vtpm_operations) ro = {}
VM ref:VM new
backend ref:VM ro = "OpaqueRef:NULL"
persistence_backend enum:persistence_backend ro = "xapi"
is_unique bool new = false
is_protected bool ro = false
"""

CONSOLE = """class console
uuid string ro
protocol enum:console_protocol ro
location string ro
VM ref:VM ro
other_config map(string,string) rw
"""

VM_APPLIANCE = """class VM_appliance
uuid string ro
name_label string rw = ""
name_description string rw = ""
allowed_operations set(enum:vm_appliance_operation) ro = []
current_operations map(string,enum:vm_appliance_operation) ro = {}
VMs set(ref:VM) ro
"""

VMSS = """class VMSS
uuid string ro
name_label string rw = ""
name_description string rw = ""
enabled bool rw = true
type enum:vmss_type new
retained_snapshots int new = 7
frequency enum:vmss_frequency new
schedule map(string,string) new = {}
last_run_time datetime ro = "19700101T00:00:00Z"
VMs set(ref:VM) ro
"""

VM_GROUP = """class VM_group
uuid string ro
name_label string rw = ""
name_description string rw = ""
placement enum:placement_policy new = "normal"
VMs set(ref:VM) ro
"""
