"""What an action occupies while it runs: slots that are counted, and places that it holds.

The executor notes these in `Progress.claims` when an action starts, so that admission knows what
is taken even when the plan no longer contains the action.

What sends one snapshot to several destinations starts as a *party*, which reads each disk once for
all of them: so the export slots of a party are taken together, and are free when its last is done.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from reconciler.desired.state import Desired
from reconciler.ids import (
    JobName,
    PoolName,
    RemoteName,
    RestoreId,
    SrUuid,
    VmUuid,
)
from reconciler.observed.progress import Claims, Mode, Place, PlaceKind, SlotKind, Slots
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Sending,
    Snapshot,
    Verify,
)
from reconciler.plan.power_on import PowerOn
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm

_NOBODY = VmUuid("")


def claims_of(action: Action) -> Claims:  # noqa: PLR0911 (it is a table)
    """Say what an action occupies that starts alone.

    What sends a snapshot reads it on its pool, so that nobody cleans it meanwhile, and adds to
    what its destination holds of the VM. It counts as many export slots as it reads streams; one
    that only writes the metadata that is still missing counts none. Removing a snapshot makes as
    much work for the storage of a pool as taking one, and uses the same slot.
    """
    match action:
        case Snapshot():
            return Claims(
                (Slots(SlotKind.SNAPSHOTS, action.pool, 1), _vm_of_job(action)),
                ((pool_place(action.pool, action.vm), Mode.APPEND),),
            )
        case Export() | Archive() | Replicate() | CopyVm():
            return _sending(action, Slots(SlotKind.EXPORTS, action.pool, len(readings_of(action))))
        case PruneReplica() | CleanReplica():
            place = sr_place(action.target_pool, action.sr, action.vm)
            return Claims(
                (Slots(SlotKind.REPLICAS, place.name, 1),),
                ((place, Mode.REWRITE),),
            )
        case PowerOn():
            return Claims((), ((pool_place(action.pool, action.vm), Mode.APPEND),))
        case CleanSnapshot():
            return Claims(
                (Slots(SlotKind.SNAPSHOTS, action.pool, 1),),
                ((pool_place(action.pool, action.vm or _NOBODY), Mode.REWRITE),),
            )
        case Merge() | Prune() | CleanFiles():
            return _on_remote(action.remote, action.vm, Mode.REWRITE)
        case Verify():
            return Claims(
                (Slots(SlotKind.PROOFS, action.remote, 1),),
                ((remote_place(action.remote, action.vm), Mode.PROVE),),
            )
        case RestoreVm(restore=str() as restore):
            reading = _on_remote(action.remote, action.vm, Mode.READ)
            making = (restore_place(action.pool, restore), Mode.APPEND)
            return replace(reading, places=(*reading.places, making))
        case RestoreVm() | RestoreDisk():
            return _on_remote(action.remote, action.vm, Mode.READ)
        case CleanRestore():
            return Claims((), ((restore_place(action.pool, action.restore), Mode.REWRITE),))
        case _:
            assert_never(action)


def claims_of_party(party: Sequence[Action], desired: Desired, at: datetime) -> tuple[Claims, ...]:
    """Say what each of those occupies that start together. at: when they start.

    Of the streams that a party reads, no more are open at once than the job allows for one VM.
    """
    sending = [action for action in party if isinstance(action, Sending)]
    if not sending:
        return tuple(claims_of(action) for action in party)
    first = sending[0]
    count = len(frozenset[str]().union(*map(readings_of, sending)))
    job = desired.jobs.get(first.job)
    if job is not None and job.settings.disks_max:
        count = min(count, job.settings.disks_max)
    shared = Slots(SlotKind.EXPORTS, first.pool, count, f"{first.snapshot} {at.isoformat()}")
    nothing = replace(shared, count=0)
    return tuple(_sending(action, shared if readings_of(action) else nothing) for action in sending)


def readings_of(action: Sending) -> frozenset[str]:
    """Name the streams that an action needs: of each disk it lacks, or one of the whole VM."""
    match action:
        case Export():
            return frozenset(disk.snapshot for disk in action.disks_to_send)
        case Replicate():
            return frozenset(disk.snapshot for disk in action.disks)
        case Archive() | CopyVm():
            return frozenset({f"{action.snapshot} {action.compression}"})


def _sending(action: Sending, exports: Slots) -> Claims:
    match action:
        case Export() | Archive():
            slots = Slots(SlotKind.ACTIONS, action.remote, 1)
            place = remote_place(action.remote, action.vm)
        case Replicate() | CopyVm():
            place = sr_place(action.target_pool, action.sr, action.vm)
            slots = Slots(SlotKind.REPLICAS, place.name, 1)
    return Claims(
        (exports, slots, _vm_of_job(action)),
        ((pool_place(action.pool, action.vm), Mode.READ), (place, Mode.APPEND)),
    )


def _vm_of_job(action: Snapshot | Sending) -> Slots:
    return Slots(SlotKind.VMS, action.job, 1, action.vm)


def pool_place(pool: PoolName, vm: VmUuid) -> Place:
    """Name a VM's snapshots on a pool."""
    return Place(PlaceKind.POOL, pool, vm)


def restore_place(pool: PoolName, restore: RestoreId) -> Place:
    """Name what a restore makes on a pool; it has no VM of its own before it begins."""
    return Place(PlaceKind.POOL, pool, VmUuid(restore))


def remote_place(remote: RemoteName, vm: VmUuid) -> Place:
    """Name a VM's points and files on a remote."""
    return Place(PlaceKind.REMOTE, remote, vm)


def sr_place(pool: PoolName, sr: SrUuid, vm: VmUuid) -> Place:
    """Name a VM's replicas on an SR; the SR is observed with its pool."""
    return Place(PlaceKind.SR, f"{pool}/{sr}", vm)


def sr_name(pool: PoolName, sr: SrUuid, name: str = "") -> str:
    """Name an SR in a sentence. name: as its pool calls it, if no other is called so there."""
    return f"SR {name or sr[:8]} of pool {pool}"


def sr_address(pool: str, sr: str, name: str) -> str:
    """Name an SR as a place, in the names of points and in lists: `east:fast`."""
    return f"{pool}:{name or sr}"


def pool_address(pool: str) -> str:
    """Name a pool as a place where snapshots are the points."""
    return f"pool/{pool}"


def touched_by(claims: Claims) -> tuple[Place, ...]:
    """Return the places that an action with these claims changes; reading changes nothing."""
    return tuple(place for place, mode in claims.places if mode is not Mode.READ)


def limit_of(kind: SlotKind, name: str, desired: Desired) -> int:
    """Return how many of a resource may be taken at once; 1 where nobody says.

    VMs of a job: as many as there are, unless the job says. Proofs: one at a time on each remote,
    beside its other actions.
    """
    match kind:
        case SlotKind.SNAPSHOTS | SlotKind.EXPORTS:
            pool = desired.pools.get(PoolName(name))
            if pool is None:
                return 1
            return pool.snapshots_max if kind is SlotKind.SNAPSHOTS else pool.exports_max
        case SlotKind.REPLICAS:
            home = desired.pools.get(PoolName(name.rpartition("/")[0]))
            return 1 if home is None else home.replicas_max
        case SlotKind.VMS:
            job = desired.jobs.get(JobName(name))
            return (job.settings.vms_max if job is not None else 0) or sys.maxsize
        case SlotKind.PROOFS:
            return 1
        case SlotKind.ACTIONS:
            remote = desired.remotes.get(RemoteName(name))
            return 1 if remote is None else remote.actions_max
        case _:
            assert_never(kind)


def _on_remote(remote: RemoteName, vm: VmUuid, mode: Mode) -> Claims:
    return Claims(
        (Slots(SlotKind.ACTIONS, remote, 1),),
        ((remote_place(remote, vm), mode),),
    )
