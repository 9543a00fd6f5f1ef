"""A fresh pool: hosts, their control domains, storage, a network, and a template."""

from reconciler.lab.database import Database, Row
from reconciler.lab.values import NULL, Record, new_uuid, now

_FEATURES = {
    **{"VDI_CREATE": 1, "VDI_DELETE": 1, "VDI_ATTACH": 1, "VDI_DETACH": 1, "VDI_CLONE": 1},
    **{"VDI_SNAPSHOT": 1, "VDI_RESIZE": 1, "VDI_MIRROR": 1, "VDI_CONFIG_CBT": 1},
    **{"VDI_ACTIVATE": 1, "VDI_DEACTIVATE": 1, "VDI_UPDATE": 1, "VDI_RESET_ON_BOOT": 2},
    **{"THIN_PROVISIONING": 1, "SR_PROBE": 1, "SR_UPDATE": 1, "SR_CACHING": 1},
}
_VERSIONS: Record = {
    "product_brand": "XCP-ng",
    "product_version": "8.3.0",
    "product_version_text": "8.3",
    "product_version_text_short": "8.3",
    "platform_name": "XCP",
    "platform_version": "3.4.0",
    "build_number": "cloud",
    "date": "2026-01-01",
    "xapi": "26.1",
    "xapi_build": "26.1.3",
    "xen": "4.17.5",
    "linux": "4.19.0+1",
    "hostname": "lab",
    "network_backend": "openvswitch",
    "dbv": "0.0.1",
}
_MEMORY = 64 << 30
_SR_BYTES = 1 << 42

# What VM.create wants and nobody cares about here.
MACHINE: Record = {
    "user_version": 1,
    "is_a_template": False,
    "affinity": NULL,
    "VCPUs_params": {},
    "VCPUs_max": 2,
    "VCPUs_at_startup": 2,
    "actions_after_shutdown": "destroy",
    "actions_after_reboot": "restart",
    "actions_after_crash": "restart",
    "PV_bootloader": "",
    "PV_kernel": "",
    "PV_ramdisk": "",
    "PV_args": "",
    "PV_bootloader_args": "",
    "PV_legacy_args": "",
    "HVM_boot_policy": "BIOS order",
    "HVM_boot_params": {"order": "cdn", "firmware": "uefi"},
    "platform": {"acpi": "1", "apic": "true", "pae": "true", "viridian": "true", "nx": "true"},
    "PCI_bus": "",
    "recommendations": "",
    "domain_type": "hvm",
}


def machine(name: str, memory: int) -> Record:
    """The fields of an ordinary halted machine."""
    return {
        **MACHINE,
        "name_label": name,
        "memory_static_max": memory,
        "memory_static_min": min(memory, 512 << 20),
        "memory_dynamic_max": memory,
        "memory_dynamic_min": memory,
        "memory_target": memory,
        "other_config": {"mac_seed": new_uuid()},
        "domid": -1,
        "resident_on": NULL,
    }


def host_address(first: str, position: int) -> str:
    """127.0.0.1, 127.0.0.2 … from the first host's address."""
    head, _, last = first.rpartition(".")
    return f"{head}.{int(last) + position}"


def seed(database: Database, name: str, hosts: int, address: str) -> None:
    """Make the objects of a new pool; the first host is the master."""
    with database.transaction():
        pool = database.create("pool", {"name_label": name, "name_description": "a lab"})
        network = database.create(
            "network",
            {
                "name_label": "Pool-wide network associated with eth0",
                "bridge": "xenbr0",
                "other_config": {"automatic": "true"},
            },
        )
        members = [_host(database, number, address, network) for number in range(hosts)]
        database.set(pool, master=members[0].ref)
        for kind in ("ext", "nfs"):
            database.create("SM", _manager(kind))
        local = [_storage(database, "ext", "Local storage", [member]) for member in members]
        default = local[0]
        if hosts > 1:
            default = _storage(database, "nfs", "Shared storage", members)
        database.set(pool, default_SR=default.ref, suspend_image_SR=default.ref)
        template = machine("Other install media", 1 << 30)
        template |= {"is_a_template": True, "is_default_template": True}
        metrics = database.create("VM_metrics", {"install_time": now()})
        database.create("VM", {**template, "metrics": metrics.ref})


def _host(database: Database, number: int, first: str, network: Row) -> Row:
    metrics = database.create(
        "host_metrics",
        {"memory_total": _MEMORY, "memory_free": _MEMORY, "live": True, "last_updated": now()},
    )
    host = database.create(
        "host",
        {
            "name_label": f"lab-{number + 1}",
            "hostname": f"lab-{number + 1}",
            "address": host_address(first, number),
            "enabled": True,
            "metrics": metrics.ref,
            "API_version_major": 2,
            "API_version_minor": 23,
            "API_version_vendor": "XenSource",
            "software_version": _VERSIONS,
            "other_config": {"agent_start_time": "1700000000.", "boot_time": "1700000000."},
            "cpu_info": {"cpu_count": "8", "socket_count": "1", "vendor": "GenuineIntel"},
            "edition": "xcp-ng",
        },
    )
    domain_metrics = database.create("VM_metrics", {"start_time": now()})
    domain = machine(f"Control domain on host: lab-{number + 1}", 4 << 30)
    domain |= {
        "is_control_domain": True,
        "power_state": "Running",
        "resident_on": host.ref,
        "affinity": host.ref,
        "domid": 0,
        "metrics": domain_metrics.ref,
    }
    database.set(host, control_domain=database.create("VM", domain).ref)
    _interface(database, number, first, network, host)
    return host


def _interface(database: Database, number: int, first: str, network: Row, host: Row) -> None:
    carrier = database.create("PIF_metrics", {"carrier": True, "speed": 10000, "duplex": True})
    database.create(
        "PIF",
        {
            "device": "eth0",
            "network": network.ref,
            "host": host.ref,
            "MAC": f"02:00:00:00:00:{number + 1:02x}",
            "MTU": 1500,
            "VLAN": -1,
            "metrics": carrier.ref,
            "physical": True,
            "currently_attached": True,
            "ip_configuration_mode": "Static",
            "IP": host_address(first, number),
            "netmask": "255.0.0.0",
            "management": True,
        },
    )


def _manager(kind: str) -> Record:
    return {
        "type": kind,
        "name_label": {"ext": "Local EXT3 VHD", "nfs": "NFS VHD"}[kind],
        "name_description": "SR plugin of the lab",
        "vendor": "lab",
        "version": "1.0",
        "required_api_version": "1.0",
        "capabilities": list(_FEATURES),
        "features": dict(_FEATURES),
        "driver_filename": f"/opt/xensource/sm/{kind.upper()}SR",
        "supported_image_formats": ["vhd"],
    }


def _storage(database: Database, kind: str, name: str, hosts: list[Row]) -> Row:
    sr = database.create(
        "SR",
        {
            "name_label": name,
            "type": kind,
            "content_type": "user",
            "shared": kind == "nfs",
            "physical_size": _SR_BYTES,
            "other_config": {"auto-scan": "true"},
            "sm_config": {"devserial": ""} if kind == "ext" else {},
        },
    )
    for host in hosts:
        config = {"device": "/dev/lab"} if kind == "ext" else {"server": "nas", "serverpath": "/"}
        database.create(
            "PBD",
            {
                "host": host.ref,
                "SR": sr.ref,
                "device_config": config,
                "currently_attached": True,
            },
        )
    return sr
