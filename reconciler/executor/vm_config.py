"""What of a VM means something on another pool, and its network interfaces made anew there."""

from collections.abc import Mapping
from typing import Any

from reconciler.executor.networks import Networks
from reconciler.xapi.client import XapiClient

Record = Mapping[str, Any]
"""What XAPI says of an object, whole."""

PLAIN = (
    *("user_version", "VCPUs_params", "actions_after_shutdown", "actions_after_reboot"),
    *("actions_after_crash", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args"),
    *("PV_bootloader_args", "PV_legacy_args", "HVM_boot_policy", "HVM_boot_params"),
    *("HVM_shadow_multiplier", "platform", "PCI_bus", "recommendations", "xenstore_data"),
    *("hardware_platform_version", "has_vendor_device", "domain_type", "NVRAM"),
)
"""Fields that can be set one by one."""
MEMORY = ("memory_static_min", "memory_static_max", "memory_dynamic_min", "memory_dynamic_max")
VCPUS = ("VCPUs_max", "VCPUs_at_startup")


async def create_interfaces(
    client: XapiClient,
    vm: str,
    interfaces: Mapping[str, Record],
    networks: Networks,
    *,
    keep_addresses: bool,
) -> None:
    """Create interfaces of a VM (a reference).

    interfaces: records, with what their networks were called. One whose network is not here is left
    out. Raises XapiError.
    """
    for old in interfaces.values():
        network = networks.of(old)
        if network is None:
            continue
        struct = {
            "device": old.get("device", "0"),
            "network": network,
            "VM": vm,
            "MAC": old.get("MAC", "") if keep_addresses else "",
            "MTU": old.get("MTU", 1500),
            "other_config": old.get("other_config", {}),
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
        await client.call("VIF.create", struct)
