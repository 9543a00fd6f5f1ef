"""Rule: what to fold once points were pruned, and begun merges first of all.

A file whose point is gone, and on which exactly one file stands, is merged with that file: the
newer data goes into the older file, which then takes the newer one's name. One merge of a chain
at a time, the oldest first: that moves every byte of a run of such files once.
"""

from datetime import UTC, datetime

from reconciler.desired.state import Job
from reconciler.ids import RemoteName
from reconciler.observed.chain import History, MergeInProgress
from reconciler.plan.actions import Merge
from reconciler.plan.draft import Draft
from reconciler.plan.files import directory_of, job_of
from reconciler.plan.reasons import Reason
from reconciler.plan.shelf import Files
from reconciler.plan.world import World, vm_on_remote

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def finish_merges(world: World, remote: RemoteName, history: History, draft: Draft) -> bool:
    """Plan to finish what was begun, also for suspended jobs: half a merge is no state to stay in.

    A merge of a job that is unknown here was begun by somebody else, who will finish it. Returns
    whether there is one of ours: then nothing else is changed in this VM's directory.
    """
    ours = [merge for merge in history.merges if job_of(merge.target) in world.jobs_by_id]
    for merge in ours:
        draft.do(merge_to_finish(world, remote, history, merge))
    return bool(ours)


def merge_to_finish(
    world: World, remote: RemoteName, history: History, merge: MergeInProgress
) -> Merge:
    """Return the action that finishes a begun merge."""
    return _merge(world, remote, history, merge.target, merge.source, Reason.MERGE_INTERRUPTED)


def rule(world: World, remote: RemoteName, history: History, files: Files, draft: Draft) -> None:
    """Plan the next merge of each chain that has files without points."""
    busy: set[str] = set()
    for target, above in files.carrying.items():  # in order: the oldest of each chain comes first
        directory = directory_of(target)
        if directory in busy:
            continue
        if len(above) != 1:
            continue  # a fork: garbage on one side is removed first
        busy.add(directory)
        if files.chains.depth(above[0]) == 0:
            draft.hold(
                vm_on_remote(name_of(world, history), remote),
                Reason.CHAIN_BROKEN,
                f"{target} is not merged: the chain below {above[0]} is broken",
            )
            continue
        draft.do(_merge(world, remote, history, target, above[0], Reason.POINT_PRUNED))


def name_of(world: World, history: History) -> str:
    """Return what the VM is called: on its pool, or when it was last backed up, or its uuid."""
    homes = world.homes(history.vm)
    if homes:
        return homes[0][1].name
    return history.points[-1].vm_name if history.points else history.vm


def since(history: History) -> datetime:
    """Return when the VM's part of a remote last gained a point: tidying up is owed since then."""
    return history.points[-1].taken_at if history.points else _LONG_AGO


def _merge(
    world: World, remote: RemoteName, history: History, target: str, source: str, reason: Reason
) -> Merge:
    moved = history.files.get(source)
    job: Job | None = world.jobs_by_id.get(job_of(target))
    return Merge(
        remote=remote,
        vm=history.vm,
        vm_name=name_of(world, history),
        job=None if job is None else job.name,
        target=target,
        source=source,
        data_bytes=0 if moved is None else moved.data_bytes,
        due=since(history),
        reason=reason,
    )
