"""Rule: restores that manifests ask for. Each is done once; what interrupted ones left is removed.

Before it makes anything, a restore writes down on the pool which point it is of, and when it is
whole, that it is done (`observed/restore_marks.py`). So `latest` is settled when the restore
begins; and one that is done stays done, whatever becomes of the VM and of the manifest.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from reconciler.desired.state import Restore
from reconciler.ids import (
    ActionId,
    DiskUuid,
    PoolName,
    RemoteName,
    RestoreId,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.restored import RestoredVm, RestoreRecord
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import id_of
from reconciler.plan.claims import restore_place
from reconciler.plan.draft import Draft
from reconciler.plan.points import Located, NoPoint, Remotes, of_vm, pick, points_called
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreVm
from reconciler.plan.sites import sr_called
from reconciler.plan.world import Obstacle, World

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def rule(world: World, draft: Draft) -> None:
    """Plan what restores want, and end what nobody wants any more."""
    restores = world.desired.restores
    for name in sorted(restores):
        _plan(world, restores[name], draft)
    known = {restore.id for restore in restores.values()}
    for pool, view in world.pools():
        _report_unknown(view, known, pool, draft)
    _cancel_unwanted(world, draft)


def subject_of(restore: Restore) -> str:
    """Name a restore for a person."""
    return f"restore {restore.name}"


def _plan(world: World, restore: Restore, draft: Draft) -> None:
    view = world.pool(restore.pool)
    if isinstance(view, Obstacle):
        _hold(draft, restore, Obstacle(view.reason, f"pool {restore.pool}: {view.why}"))
        return
    record = view.restores.get(restore.id)
    if record is not None and record.revision != restore.revision:
        done = "done" if record.made else "begun"
        why = f"it was {done} as another one ({record.vm}/{record.stamp}); give it another name"
        _hold(draft, restore, Obstacle(Reason.RESTORE_CHANGED, why))
        return
    if record is not None and record.made is not None:
        return
    is_running = world.mode_at(restore_place(restore.pool, restore.id)) is not None
    if not is_running and record is not None and _clean(view, restore, record, draft):
        return
    if restore.suspend and not is_running:
        _hold(draft, restore, Obstacle(Reason.SUSPENDED, "the restore is suspended"))
        return
    action = _action(world, restore, view, record)
    if isinstance(action, Obstacle):
        _hold(draft, restore, action)
    else:
        draft.do(action)


def _hold(draft: Draft, restore: Restore, obstacle: Obstacle) -> None:
    draft.hold(subject_of(restore), obstacle.reason, obstacle.why)


# ── what is restored ──────────────────────────────────────────────────────────────────────────────


def _action(
    world: World, restore: Restore, view: PoolView, record: RestoreRecord | None
) -> RestoreVm | Obstacle:
    found = _located(world, restore, record)
    if isinstance(found, Obstacle):
        return found
    obstacle = _storage(view, restore) or _of_archive(restore, found)
    if obstacle is not None:
        return obstacle
    whole = [each for each in view.restored if each.restore == restore.id and each.whole]
    return RestoreVm(
        remote=found.remote,
        vm=found.point.vm,
        vm_name=found.point.vm_name,
        stamp=found.point.stamp,
        pool=restore.pool,
        sr=restore.sr,
        name=restore.vm_name,
        start=restore.start,
        due=restore.asked_at or found.point.taken_at,
        restore=restore.id,
        revision=restore.revision,
        networks=restore.networks,
        mac=restore.mac,
        made=whole[0].vm if whole else None,
    )


def _located(world: World, restore: Restore, record: RestoreRecord | None) -> Located | Obstacle:
    """Find the point: the one it was begun with, or the one it asks for.

    What was not seen is not absent: the newest point may be where nobody can look just now.
    """
    vm: str = restore.vm if record is None else record.vm
    stamp = restore.stamp if record is None else record.stamp
    wanted = [name for name in sorted(world.desired.remotes) if restore.remote in (None, name)]
    usable = {
        name: view
        for name in wanted
        if not world.desired.remotes[name].suspend
        and not isinstance(view := world.remote(name), Obstacle)
    }
    unseen = _unseen(world, wanted)
    if unseen is not None and (stamp is None or not usable):
        return unseen
    try:
        points = of_vm(points_called(usable, vm), vm)
        unread = _unread(usable, {found.point.vm for found in points})
        if not points:
            places = ", ".join(f"remote {name}" for name in usable) or "any remote"
            why = f"no restore point of a VM {vm} is on {places}"
            return unseen or unread or Obstacle(Reason.POINT_UNKNOWN, why)
        if unread is not None and stamp is None:
            return unread
        return pick(vm, points, stamp=stamp, as_of=restore.as_of if record is None else None)
    except NoPoint as error:
        return unseen or Obstacle(error.reason, f"{error.subject}: {error}; {error.hint}")


def _unseen(world: World, remotes: Iterable[RemoteName]) -> Obstacle | None:
    """Say why not all remotes that may have the point can be looked at; None: they can."""
    for name in remotes:
        view = world.remote(name)
        if world.desired.remotes[name].suspend:
            return Obstacle(Reason.SUSPENDED, f"remote {name} is suspended")
        if isinstance(view, Obstacle):
            return Obstacle(view.reason, f"remote {name}: {view.why}")
    return None


def _unread(remotes: Remotes, vms: Collection[VmUuid]) -> Obstacle | None:
    """Say which part of a remote could not be read, of these VMs; of any, if none is known."""
    for name, view in remotes.items():
        histories = view.histories if isinstance(view, RemoteView) else {}
        for vm in sorted(vms or histories):
            if isinstance(history := histories.get(vm), Unknown):
                why = f"what remote {name} has of VM {vm}: {history.why}"
                return Obstacle(Reason.UNREADABLE_METADATA, why)
    return None


def _storage(view: PoolView, restore: Restore) -> Obstacle | None:
    """Say why it is not known where the disks go; None: it is, or the pool's default is meant."""
    if restore.sr is None:
        return None
    called = sr_called(view, restore.sr)
    return called if isinstance(called, Obstacle) else None


def _of_archive(restore: Restore, found: Located) -> Obstacle | None:
    """Say what an archive cannot be restored with; None: nothing of it is asked for."""
    if not (found.point.archive and restore.networks):
        return None
    why = f"{found.name} is an archive: its interfaces go where the pool puts them"
    return Obstacle(Reason.NETWORK_UNKNOWN, f"{why}; leave target.networks out")


# ── what is left of it ────────────────────────────────────────────────────────────────────────────


def _clean(view: PoolView, restore: Restore, record: RestoreRecord, draft: Draft) -> bool:
    """Plan to remove what an interrupted try left; say whether there is any."""
    half = [each for each in view.restored if each.restore == restore.id and not each.whole]
    loose = tuple(each.disk for each in view.loose if each.restore == restore.id)
    for vm in half:
        if vm.busy:
            why = f"VM {vm.name} of an interrupted try is busy: {', '.join(vm.busy)}"
            draft.hold(subject_of(restore), Reason.VM_BUSY, why)
        else:
            draft.do(_cleaning(restore, record, vm, ()))
    if loose and not half:
        draft.do(_cleaning(restore, record, None, loose))
    return bool(half or loose)


def _cleaning(
    restore: Restore, record: RestoreRecord, vm: RestoredVm | None, disks: tuple[DiskUuid, ...]
) -> CleanRestore:
    return CleanRestore(
        pool=restore.pool,
        restore=restore.id,
        vm=None if vm is None else vm.vm,
        vm_name=restore.vm_name or restore.vm if vm is None else vm.name,
        disks=disks,
        due=instant_of(record.stamp),
    )


def _report_unknown(view: PoolView, known: set[RestoreId], pool: PoolName, draft: Draft) -> None:
    """Name what is half made and whose manifest is not here: it may be another reconciler's."""
    for vm in view.restored:
        if not vm.whole and vm.restore not in known:
            why = f"VM {vm.name} ({vm.vm}) is half made, by a restore that no manifest describes"
            draft.hold(f"pool {pool}", Reason.RESTORE_UNKNOWN, why)


def _cancel_unwanted(world: World, draft: Draft) -> None:
    """End restores whose manifest is gone; as long as one cannot be read, none is known to be."""
    if world.desired.problems:
        return
    wanted = {intent_of(restore) for restore in world.desired.restores.values()}
    for action in sorted(world.observed.progress.running):
        if action.startswith(f"{RestoreVm.verb}-") and action not in wanted:
            draft.cancel(action, Reason.CANCELLED, "no manifest asks for the restore any more")


def intent_of(restore: Restore) -> ActionId:
    """Name the action of a restore: the same whatever is known by now of what it asks for."""
    return id_of(
        RestoreVm(
            remote=RemoteName(""),
            vm=VmUuid(""),
            vm_name="",
            stamp=Stamp(""),
            pool=restore.pool,
            sr=None,
            name=restore.vm_name,
            start=False,
            due=_NEVER,
            restore=restore.id,
        )
    )
