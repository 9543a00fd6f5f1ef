"""What an action occupies while it runs: slots that are counted, and places that it holds.

The executor notes these in `Progress.claims` when an action starts, so that admission knows what
is taken even when the plan no longer contains the action.
"""

from typing import assert_never

from reconciler.desired.state import Desired
from reconciler.ids import (
    PoolName,
    RemoteName,
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
    RestoreDisk,
    RestoreVm,
    Snapshot,
)

_NOBODY = VmUuid("")


def claims_of(action: Action) -> Claims:  # noqa: PLR0911 (it is a table)
    """Say what an action occupies.

    An export reads its snapshot on the pool, so that nobody cleans it meanwhile, and adds to the
    chains on the remote. It counts as many export slots as it sends disks; one that only writes
    the metadata that is still missing counts none. Removing a snapshot makes as much work for the
    storage of a pool as taking one, and uses the same slot.
    """
    match action:
        case Snapshot():
            return Claims(
                (Slots(SlotKind.SNAPSHOTS, action.pool, 1),),
                ((pool_place(action.pool, action.vm), Mode.APPEND),),
            )
        case Export():
            return Claims(
                (
                    Slots(SlotKind.EXPORTS, action.pool, len(action.disks_to_send)),
                    Slots(SlotKind.ACTIONS, action.remote, 1),
                ),
                (
                    (pool_place(action.pool, action.vm), Mode.READ),
                    (remote_place(action.remote, action.vm), Mode.APPEND),
                ),
            )
        case Archive():
            return Claims(
                (
                    Slots(SlotKind.EXPORTS, action.pool, 1),
                    Slots(SlotKind.ACTIONS, action.remote, 1),
                ),
                (
                    (pool_place(action.pool, action.vm), Mode.READ),
                    (remote_place(action.remote, action.vm), Mode.APPEND),
                ),
            )
        case Replicate() | CopyVm():
            disks = len(action.disks) if isinstance(action, Replicate) else 1
            return Claims(
                (
                    Slots(SlotKind.EXPORTS, action.pool, disks),
                    Slots(SlotKind.REPLICAS, action.sr, 1),
                ),
                (
                    (pool_place(action.pool, action.vm), Mode.READ),
                    (sr_place(action.target_pool, action.sr, action.vm), Mode.APPEND),
                ),
            )
        case PruneReplica() | CleanReplica():
            return Claims(
                (Slots(SlotKind.REPLICAS, action.sr, 1),),
                ((sr_place(action.target_pool, action.sr, action.vm), Mode.REWRITE),),
            )
        case CleanSnapshot():
            return Claims(
                (Slots(SlotKind.SNAPSHOTS, action.pool, 1),),
                ((pool_place(action.pool, action.vm or _NOBODY), Mode.REWRITE),),
            )
        case Merge() | Prune() | CleanFiles():
            return _on_remote(action.remote, action.vm, Mode.REWRITE)
        case RestoreVm() | RestoreDisk():
            return _on_remote(action.remote, action.vm, Mode.READ)
        case _:
            assert_never(action)


def pool_place(pool: PoolName, vm: VmUuid) -> Place:
    """Name a VM's snapshots on a pool."""
    return Place(PlaceKind.POOL, pool, vm)


def remote_place(remote: RemoteName, vm: VmUuid) -> Place:
    """Name a VM's points and files on a remote."""
    return Place(PlaceKind.REMOTE, remote, vm)


def sr_place(pool: PoolName, sr: SrUuid, vm: VmUuid) -> Place:
    """Name a VM's replicas on an SR; the SR is observed with its pool."""
    return Place(PlaceKind.SR, f"{pool}/{sr}", vm)


def sr_name(pool: PoolName, sr: SrUuid) -> str:
    """Name an SR for a person."""
    return f"SR {sr[:8]} of pool {pool}"


def touched_by(claims: Claims) -> tuple[Place, ...]:
    """Return the places that an action with these claims changes; reading changes nothing."""
    return tuple(place for place, mode in claims.places if mode is not Mode.READ)


def limit_of(kind: SlotKind, name: str, desired: Desired) -> int:
    """Return how many of a resource may be taken at once; 1 where nobody says."""
    match kind:
        case SlotKind.SNAPSHOTS | SlotKind.EXPORTS:
            pool = desired.pools.get(PoolName(name))
            if pool is None:
                return 1
            return pool.snapshots_max if kind is SlotKind.SNAPSHOTS else pool.exports_max
        case SlotKind.REPLICAS:
            return max((pool.replicas_max for pool in desired.pools.values()), default=1)
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
