"""Rule: which slots and requests count as dealt with for a VM although no point answers them.

Two things say so. A mark on the VM: a snapshot was removed before all of its points were made,
because its run was cancelled or took too long. And a cancellation, of slots that the cancelled run
would have answered as well: those that had come when it was said, unless the run had a snapshot (or
a point) of its own from before they came. Whoever cancels what is under way means all of it.
"""

from collections.abc import Sequence
from datetime import datetime

from reconciler.ids import instant_of, run_id, stamp_of
from reconciler.observed.pool import GivenUp
from reconciler.plan.actions import Snapshot
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason, reason_of
from reconciler.plan.scope import Scope
from reconciler.plan.slots import Slot
from reconciler.plan.snapshot import snapshot_of
from reconciler.plan.world import World


def without(world: World, scope: Scope, slots: Sequence[Slot], draft: Draft) -> Sequence[Slot]:
    """Leave out the slots that are dealt with, and say why."""
    note = scope.given_up
    cancellations = tuple(world.cancellations_of(scope.job.name))
    if note is None and not cancellations:
        return slots
    owed = []
    for slot in slots:
        if note is not None and slot.schedule.id in note.schedules and note.stamp >= slot.stamp:
            action = snapshot_of(
                scope, due=slot.at, reason=Reason.SCHEDULED, schedules=(slot.schedule.id,)
            )
            _say_given_up(scope, note, action, slot.next, draft)
            continue
        run = _run_of(scope, slot, cancellations)
        if run is None:
            owed.append(slot)
            continue
        why = f"run {run_id(scope.job.name, run)} was cancelled, which was to answer this slot, too"
        draft.hold(_subject(scope), Reason.RUN_CANCELLED, why, until=slot.next)
    return owed


def answers(scope: Scope, request: datetime | None, draft: Draft) -> bool:
    """Say whether a request is dealt with."""
    note = scope.given_up
    if request is None or note is None or note.requested is None:
        return False
    if note.requested < stamp_of(request):
        return False
    action = snapshot_of(scope, due=request, reason=Reason.REQUESTED, requested=request)
    _say_given_up(scope, note, action, None, draft)
    return True


def _run_of(
    scope: Scope, slot: Slot, cancellations: Sequence[tuple[datetime, datetime]]
) -> datetime | None:
    """Return of which moment the cancelled run is that would have answered a slot, if any."""
    for due, said_at in cancellations:
        if due < slot.at <= said_at and not _was_begun(scope, due, slot.at):
            return due
    return None


def _was_begun(scope: Scope, since: datetime, before: datetime) -> bool:
    """Say whether the job made anything of the VM between two moments."""
    taken = [snapshot.taken_at for snapshot in scope.snapshots]
    taken += [point.taken_at for target in scope.targets for point in target.points]
    if scope.given_up is not None:
        taken.append(instant_of(scope.given_up.stamp))
    return any(since <= each < before for each in taken)


def _say_given_up(
    scope: Scope, note: GivenUp, action: Snapshot, until: datetime | None, draft: Draft
) -> None:
    reason = reason_of(note.reason, Reason.TIMED_OUT)
    cause = "was cancelled" if reason is Reason.RUN_CANCELLED else "took too long"
    why = f"the run of the snapshot of {instant_of(note.stamp):%Y-%m-%d %H:%M:%S} UTC {cause}"
    why += "; the next slot is owed as ever"
    draft.hold(_subject(scope), reason, why, action, until)


def _subject(scope: Scope) -> str:
    return f"VM {scope.vm.name} of job {scope.job.name}"
