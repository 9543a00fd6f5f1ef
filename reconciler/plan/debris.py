"""Rule: what is left over on remotes and nobody needs: partial uploads, files without use.

All of it is ours by name or by mark, and none of it is a restore point. Still nothing goes on a
doubt: not while an action of ours is at work on it, and not where something could not be read. Of
snapshots that are left over see `superseded.py` and `strays.py`, of replicas `replica.py`.
"""

from collections.abc import Iterable

from reconciler.ids import JobId, RemoteName
from reconciler.observed.chain import FileState, History, stamp_in
from reconciler.plan.actions import CleanFiles
from reconciler.plan.draft import Draft
from reconciler.plan.merge import name_of, since
from reconciler.plan.reasons import Reason
from reconciler.plan.shelf import Files
from reconciler.plan.world import World, vm_on_remote


def clean_partials(world: World, remote: RemoteName, history: History, draft: Draft) -> None:
    """Plan to remove uploads under temporary names, unless an action of ours may be writing.

    Blocks of a point that is still to be made stay: the next try goes on from them.
    """
    if not history.partials or world.mode_on_remote(remote, history.vm) is not None:
        return
    useless = sorted(
        path for path in history.partials if not _is_resumed(world, remote, history, path)
    )
    if useless:
        draft.do(_clean(world, remote, history, useless, Reason.PARTIAL_UPLOAD))


def _is_resumed(world: World, remote: RemoteName, history: History, path: str) -> bool:
    """Say whether a block directory without an alias is of a point that is still to be made."""
    parts = path.split("/")  # vdis/<job id>/<disk uuid>/data/<stamp>.vhd
    if len(parts) != 5 or (parts[0], parts[3]) != ("vdis", "data"):
        return False
    job, stamp = world.jobs_by_id.get(JobId(parts[1])), stamp_in(parts[4])
    if job is None or remote not in job.remotes:
        return False
    if (remote, history.vm, stamp) in world.discarded:
        return False
    newest = max(
        (
            snapshot.marks.stamp
            for _, home in world.homes(history.vm)
            for snapshot in home.snapshots
            if snapshot.marks is not None and snapshot.marks.job == job.id
        ),
        default=None,
    )
    made = any(point.stamp == stamp and point.job == job.id for point in history.points)
    return newest == stamp and not made


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
