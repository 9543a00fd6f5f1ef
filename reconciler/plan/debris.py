"""Rule: what is left over and nobody needs: partial uploads, files without use, old snapshots.

All of it is ours by name or by mark, and none of it is a restore point. Still nothing goes on a
doubt: not while an action of ours is at work on it, not where something could not be read, and no
snapshot that a chain on any remote may still want as its base.
"""

from collections.abc import Iterable

from reconciler.ids import (
    RemoteName,
    instant_of,
)
from reconciler.observed.chain import FileState, History
from reconciler.plan.actions import CleanFiles, CleanSnapshot
from reconciler.plan.draft import Draft
from reconciler.plan.files import files_of
from reconciler.plan.merge import name_of, since
from reconciler.plan.reasons import Reason
from reconciler.plan.shelf import Files
from reconciler.plan.world import MarkedSnapshot, Scope, World, vm_on_remote

# ── on remotes ────────────────────────────────────────────────────────────────────────────────────


def clean_partials(world: World, remote: RemoteName, history: History, draft: Draft) -> None:
    """Plan to remove uploads under temporary names, unless an action of ours may be writing."""
    if history.partials and world.mode_on_remote(remote, history.vm) is None:
        draft.do(_clean(world, remote, history, sorted(history.partials), Reason.PARTIAL_UPLOAD))


def clean_garbage(
    world: World, remote: RemoteName, history: History, files: Files
) -> CleanFiles | None:
    """Return the action that removes files which nothing needs, the newest first.

    In that order what an interruption leaves is a shorter chain, not a broken one.
    """
    if not files.garbage:
        return None
    paths = sorted(files.garbage, reverse=True)
    return _clean(world, remote, history, paths, Reason.FILE_UNREFERENCED)


def report_quarantined(
    world: World, remote: RemoteName, history: History, files: Files, draft: Draft
) -> None:
    """Say which broken files are in the way of tidying up: a person decides about them."""
    for directory in sorted(files.quarantined):
        broken = min(
            (
                file
                for file in history.files.values()
                if file.state is FileState.BROKEN and file.directory == directory
            ),
            key=lambda file: file.path,
        )
        draft.hold(
            vm_on_remote(name_of(world, history), remote),
            Reason.CHAIN_BROKEN,
            f"nothing is tidied up beside {broken.path}: {broken.why}",
        )


def _clean(
    world: World, remote: RemoteName, history: History, paths: Iterable[str], reason: Reason
) -> CleanFiles:
    paths = tuple(paths)
    sizes = [history.files[path].file_bytes for path in paths if path in history.files]
    return CleanFiles(
        remote=remote,
        vm=history.vm,
        vm_name=name_of(world, history),
        paths=paths,
        freed_bytes=sum(sizes),
        due=since(history),
        reason=reason,
    )


# ── on pools ──────────────────────────────────────────────────────────────────────────────────────


def clean_superseded(world: World, scope: Scope, draft: Draft) -> None:
    """Plan to remove snapshots of a job that no remote needs any more.

    Needed is the newest one while some remote lacks its point, and each one of which a disk is
    the tip of a chain on some remote of the job: the next delta stands on it. While a remote (or
    the VM's part of it) is not seen, all are kept. A job whose manifest has problems may have
    remotes that nobody can read of just now: its oldest snapshot, probably their base, stays too
    (only that one: a full backup costs less than a storage that snapshots have filled).
    """
    if not scope.snapshots or _is_plainly_needed(scope):
        return
    if any(target.history is None for target in scope.targets) or scope.vm.busy:
        return
    if world.mode_on_pool(scope.pool, scope.vm.uuid) is not None:
        return
    exported = scope.newest_snapshot() if any(each.exporting for each in scope.targets) else None
    tips = _tips(world, scope)
    protected = scope.job.id in world.desired.protected_jobs
    for snapshot in scope.snapshots[1:] if protected else scope.snapshots:
        if snapshot is exported or any(disk.uuid in tips for disk in snapshot.snapshot.disks):
            continue
        draft.do(_clean_snapshot(scope, snapshot))


def _is_plainly_needed(scope: Scope) -> bool:
    """Recognise the usual state at a glance: one snapshot, and it is the newest point somewhere."""
    return len(scope.snapshots) == 1 and any(
        target.points and target.points[-1].stamp == scope.snapshots[0].stamp
        for target in scope.targets
    )


def _tips(world: World, scope: Scope) -> set[str]:
    """Return the uuids of the newest files, on any remote, of the disks that snapshots are of."""
    disks = {disk.disk for snapshot in scope.snapshots for disk in snapshot.snapshot.disks}
    tips: set[str] = set()
    for target in scope.targets:
        assert target.history is not None
        files = files_of(world, target.remote, target.history)
        for disk in disks:
            tip = files.tip(f"vdis/{scope.job.id}/{disk}")
            if tip is not None:
                tips.add(tip.uuid)
    return tips


def _clean_snapshot(scope: Scope, snapshot: MarkedSnapshot) -> CleanSnapshot:
    return CleanSnapshot(
        pool=scope.pool,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        snapshot=snapshot.uuid,
        disks=tuple(disk.uuid for disk in snapshot.snapshot.disks),
        due=instant_of(scope.snapshots[-1].stamp),
        reason=Reason.SNAPSHOT_SUPERSEDED,
    )
