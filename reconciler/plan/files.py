"""What each disk file on a remote is there for: the ground that merge, debris and lineage share.

    referenced   a restore point names it
    carrying     no point names it, but one that a point names stands on it: to be merged away
    pending      no point names it yet: an interrupted export will continue with it, or on it
    garbage      nothing needs it
    left alone   whatever cannot be judged: see below

Files are published before the metadata that names them, so a file without a point is garbage only
if no snapshot is left from which its point can still be made. It is left alone if the job is not
known here (another tool's, a deleted one's, one whose manifest cannot be read), if a pool that
could hold that snapshot was not seen, if an action of ours is adding to the VM's chains, or if
its directory holds a broken file, which may stand on any other, or a begun merge.
"""

from collections.abc import Iterable, Set

from reconciler.desired.state import Job
from reconciler.ids import JobId, RemoteName, VmUuid
from reconciler.observed.chain import Chains, DiskFile, FileState, History
from reconciler.plan.shelf import Files
from reconciler.plan.world import Obstacle, World


def files_of(world: World, remote: RemoteName, history: History) -> Files:
    """Sort the files of one VM on one remote; the usual answer, nothing to do, comes quickly."""
    key = remote, history.vm
    files = world.files.get(key)
    if files is None:
        files = world.files[key] = _sort(world, remote, history)
    return files


def _sort(world: World, remote: RemoteName, history: History) -> Files:
    chains = world.chains(remote, history)
    referenced = {disk.path for point in history.points for disk in point.disks}
    merging = frozenset(
        directory_of(path) for merge in history.merges for path in (merge.target, merge.source)
    )
    loose = history.files.keys() - referenced
    if not loose:
        return Files(chains, merging=merging)
    above = chains.above(loose)
    quarantined = frozenset(
        file.directory for file in history.files.values() if file.state is FileState.BROKEN
    )
    left_alone = merging | quarantined
    carrying = _down(chains, loose, (path for path in loose if not loose.issuperset(above[path])))
    unneeded = loose - carrying
    pending = _down(
        chains,
        unneeded,
        (path for path in unneeded if _is_pending(world, remote, history, path, left_alone)),
    )
    return Files(
        chains=chains,
        carrying={
            path: tuple(above[path])
            for path in sorted(carrying)
            if directory_of(path) not in left_alone
            and job_here(world, remote, job_of(path)) is not None
        },
        garbage=tuple(sorted(unneeded - pending)),
        quarantined=quarantined,
        merging=merging,
    )


def _down(chains: Chains, among: Set[str], paths: Iterable[str]) -> set[str]:
    """Return the files at `paths` and all that they stand on, down to the first not in `among`."""
    reached: set[str] = set()
    for path in paths:
        below: str | None = path
        while below is not None and below in among and below not in reached:
            reached.add(below)
            below = chains.files[below].parent_path
    return reached


def directory_of(path: str) -> str:
    return path.rpartition("/")[0]


def job_of(path: str) -> JobId:
    """Read the job out of a path `vdis/<job id>/<disk uuid>/<file>`; "" if it is none."""
    parts = path.split("/")
    return JobId(parts[1] if len(parts) == 4 and parts[0] == "vdis" else "")


def job_here(world: World, remote: RemoteName, job: JobId) -> Job | None:
    """Return the job if its files on this remote are ours to tidy up now.

    They are not while it is suspended, while its manifest has problems (the last good version is
    in force, but nobody knows what its author wants gone), and once it names the remote no more.
    """
    found = world.jobs_by_id.get(job)
    if found is None or found.suspend or job in world.desired.protected_jobs:
        return None
    return found if remote in found.remotes else None


def _is_pending(
    world: World, remote: RemoteName, history: History, path: str, left_alone: frozenset[str]
) -> bool:
    if directory_of(path) in left_alone or world.mode_on_remote(remote, history.vm) is not None:
        return True
    job = job_here(world, remote, job_of(path))
    return job is None or _has_its_snapshot(world, job, history.vm, history.files[path])


def _has_its_snapshot(world: World, job: Job, vm: VmUuid, file: DiskFile) -> bool:
    """Say whether the snapshot the file was exported from is there, or may be."""
    homes = world.homes(vm)
    if not homes:
        return any(isinstance(world.pool(pool), Obstacle) for pool in job.pools)
    return any(
        snapshot.marks is not None
        and snapshot.marks.job == job.id
        and (
            snapshot.marks.stamp == file.stamp
            or any(disk.uuid == file.uuid for disk in snapshot.disks)
        )
        for _, home in homes
        for snapshot in home.snapshots
    )
