"""The fields of storage repositories, disks and their attachments.

Public interface facts of the XenAPI (release 26.x), one field a line: name, type, who may set it
(`rw` always, `new` only the constructor, `ro` nobody), and the default where there is one.
`schema.py` reads these texts; nothing else does.
"""

SR = """class SR
uuid string ro
name_label string new = ""
name_description string new = ""
allowed_operations set(enum:storage_operations) ro = []
current_operations map(string,enum:storage_operations) ro = {}
VDIs set(ref:VDI) ro
PBDs set(ref:PBD) ro
virtual_allocation int ro
physical_utilisation int ro
physical_size int new
type string new
content_type string new
shared bool ro
other_config map(string,string) rw
tags set(string) rw = []
sm_config map(string,string) rw = {}
blobs map(string,ref:blob) ro = {}
local_cache_enabled bool ro = false
introduced_by ref:DR_task ro = "OpaqueRef:NULL"
clustered bool ro = false
is_tools_sr bool ro = false
"""

PBD = """class PBD
uuid string ro
host ref:host new
SR ref:SR new
device_config map(string,string) new
currently_attached bool ro
other_config map(string,string) rw = {}
"""

SM = """class SM
uuid string ro
name_label string ro = ""
name_description string ro = ""
type string ro
vendor string ro
copyright string ro
version string ro
required_api_version string ro
configuration map(string,string) ro
capabilities set(string) ro = []
features map(string,int) ro = {}
other_config map(string,string) rw = {}
driver_filename string ro = ""
required_cluster_stack set(string) ro = []
supported_image_formats set(enum:image_format_type) ro = []
"""

VDI = """class VDI
uuid string ro
name_label string new = ""
name_description string new = ""
allowed_operations set(enum:vdi_operations) ro = []
current_operations map(string,enum:vdi_operations) ro = {}
SR ref:SR new
VBDs set(ref:VBD) ro
crash_dumps set(ref:crashdump) ro
virtual_size int new
physical_utilisation int ro
type enum:vdi_type new
sharable bool new
read_only bool new
other_config map(string,string) rw
storage_lock bool ro
location string ro = ""
managed bool ro
missing bool ro
parent ref:VDI ro
xenstore_data map(string,string) rw = {}
sm_config map(string,string) rw = {}
is_a_snapshot bool ro = false
snapshot_of ref:VDI ro = "OpaqueRef:NULL"
snapshots set(ref:VDI) ro
snapshot_time datetime ro = "19700101T00:00:00Z"
tags set(string) rw = []
allow_caching bool ro = false
on_boot enum:on_boot ro = "persist"
metadata_of_pool ref:pool ro = "OpaqueRef:NULL"
metadata_latest bool ro = false
is_tools_iso bool ro = false
cbt_enabled bool ro = false
"""

VBD = """class VBD
uuid string ro
allowed_operations set(enum:vbd_operations) ro = []
current_operations map(string,enum:vbd_operations) ro = {}
VM ref:VM new
VDI ref:VDI new
device string new = ""
userdevice string rw
bootable bool rw
mode enum:vbd_mode new
type enum:vbd_type rw
unpluggable bool rw = true
storage_lock bool ro
empty bool new
other_config map(string,string) rw
currently_attached bool new = false
status_code int ro
status_detail string ro
runtime_properties map(string,string) ro
qos_algorithm_type string rw
qos_algorithm_params map(string,string) rw
qos_supported_algorithms set(string) ro
metrics ref:VBD_metrics ro = "OpaqueRef:NULL"
"""
