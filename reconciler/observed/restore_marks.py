"""How restores are written down on a pool: marks on what they make, and two keys of the pool's own.

On the pool's `other_config`, added and never changed:

    reconciler:restore:<id>    VM-UUID STAMP REVISION   before anything is made: settles the point
    reconciler:restored:<id>   VM-UUID                  the new VM: whole, and started if asked for

On the new VM and its disks, from the moment they are there: `reconciler:restoring`, the id. The VM
is whole once it says `reconciler:restored` instead; then the disks lose the mark, too.
"""

from collections.abc import Iterator, Mapping

from reconciler.ids import UUID, RestoreId, Stamp, VmUuid, instant_of
from reconciler.observed.marks import RESTORED_KEY, RESTORING_KEY, SELF_KEY
from reconciler.observed.restored import RestoreRecord

BEGUN_PREFIX = "reconciler:restore:"
DONE_PREFIX = "reconciler:restored:"
_REVISION_MAX = 64


def write_restoring(restore: RestoreId, of: str | None = None) -> dict[str, str]:
    """Give the marks of what is being made. of: its uuid, None before it has one."""
    return {RESTORING_KEY: restore} | ({} if of is None else {SELF_KEY: of})


def write_restored(restore: RestoreId, of: str, other_config: Mapping[str, str]) -> dict[str, str]:
    """Give the `other_config` of a VM that is whole."""
    kept = {key: value for key, value in other_config.items() if key != RESTORING_KEY}
    return {**kept, RESTORED_KEY: restore, SELF_KEY: of}


def in_the_making(other_config: Mapping[str, str]) -> dict[str, str]:
    """Give the marks alone of what is being made."""
    if RESTORING_KEY not in other_config:
        return {}
    return {key: other_config[key] for key in (RESTORING_KEY, SELF_KEY) if key in other_config}


def without_restoring(other_config: Mapping[str, str]) -> dict[str, str]:
    """Give the `other_config` of a disk of a VM that is whole."""
    return {
        key: value for key, value in other_config.items() if key not in (RESTORING_KEY, SELF_KEY)
    }


def read_restoring(other_config: Mapping[str, str], of: str) -> RestoreId | None:
    """Read whose restore is making the object with uuid `of`; None: none is.

    Marks that name another object came along with a copy, and mean nothing.
    """
    value = other_config.get(RESTORING_KEY, "")
    ours = UUID.fullmatch(value) and other_config.get(SELF_KEY, of) == of
    return RestoreId(value) if ours else None


def read_restored(other_config: Mapping[str, str], of: str) -> RestoreId | None:
    """Read which restore made the VM with uuid `of`; None: none did."""
    value = other_config.get(RESTORED_KEY, "")
    ours = UUID.fullmatch(value) and other_config.get(SELF_KEY) == of
    return RestoreId(value) if ours else None


def write_record(record: RestoreRecord) -> tuple[str, str]:
    """Give the key and value of a restore that begins."""
    return f"{BEGUN_PREFIX}{record.restore}", f"{record.vm} {record.stamp} {record.revision}"


def write_done(restore: RestoreId, made: str) -> tuple[str, str]:
    """Give the key and value of a restore that is done. made: uuid of the new VM."""
    return f"{DONE_PREFIX}{restore}", made


def read_records(other_config: Mapping[str, str]) -> Iterator[RestoreRecord]:
    """Read what a pool says of restores; what makes no sense is left out."""
    for key, value in other_config.items():
        restore = key.removeprefix(BEGUN_PREFIX)
        vm, _, rest = value.partition(" ")
        stamp, _, revision = rest.partition(" ")
        if restore == key or not UUID.fullmatch(restore) or not UUID.fullmatch(vm):
            continue
        try:
            instant_of(Stamp(stamp))
        except ValueError:
            continue
        made = other_config.get(f"{DONE_PREFIX}{restore}", "")
        yield RestoreRecord(
            RestoreId(restore),
            VmUuid(vm),
            Stamp(stamp),
            revision[:_REVISION_MAX],
            VmUuid(made) if UUID.fullmatch(made) else None,
        )
