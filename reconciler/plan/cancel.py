"""Rule: what is not sent, or is to end, because somebody cancelled its run or it takes too long.

A cancelled run is not begun again for its slot: what of it runs is told to end, what waits is
held until the next slot. A send that ran longer than the job allows one try, or whose run began
(the snapshot's stamp says when) longer ago than the job allows a run, ends too, and nothing is
tried again for that snapshot: the next slot makes another. What is given up goes, or stays, as the
job says; where the snapshot goes, a mark on the VM says from then on that its slots were dealt
with.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from reconciler.desired.state import AfterCancel
from reconciler.ids import ScheduleId, instant_of, run_id
from reconciler.observed.progress import Mode, PlaceKind
from reconciler.plan.actions import Sending, id_of
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import Scope, Target, vm_at
from reconciler.plan.slots import Slot, next_of
from reconciler.plan.snapshot import snapshot_of
from reconciler.plan.world import World
from reconciler.units import render_span


def stops(
    world: World,
    scope: Scope,
    target: Target,
    action: Sending,
    slots: Mapping[ScheduleId, Slot],
    draft: Draft,
) -> bool:
    """Hold a send that is over, and end it if it runs; say whether it is. Fills in the target."""
    over = _over(world, scope, action, draft)
    if over is None:
        return False
    reason, why = over
    keep = scope.job.settings.after_cancel is AfterCancel.KEEP
    target.exporting, target.stopped = keep, reason
    if not keep and target.site.kind is PlaceKind.REMOTE:
        world.discarded.add((target.site.remote, scope.vm.uuid, action.stamp))
    until = next_of(slots, target.site.schedules)
    draft.hold(vm_at(scope.vm.name, target.site), reason, why, action, until)
    _end(world, action, over, draft)
    return True


def end_if_over(world: World, scope: Scope, action: Sending, draft: Draft) -> None:
    """End a send of a snapshot that is not the newest any more, if it runs and is over."""
    if id_of(action) not in world.observed.progress.running:
        return
    over = _over(world, scope, action, draft)
    if over is not None:
        _end(world, action, over, draft)


def end_snapshot(world: World, scope: Scope, draft: Draft, *, wanted: bool) -> None:
    """End the taking of a snapshot if it takes too long, or its run was cancelled.

    wanted: a slot or a request asks for one; if none does any more, it was that of a cancelled run
    (or of a job that was changed meanwhile).
    """
    if world.mode_on_pool(scope.pool, scope.vm.uuid) is not Mode.APPEND:
        return
    action = snapshot_of(scope, due=draft.now, reason=Reason.SCHEDULED)
    started_at = world.observed.progress.running.get(id_of(action))
    if started_at is None:
        return
    if not wanted and any(world.cancellations_of(scope.job.name)):
        draft.cancel(id_of(action), Reason.CANCELLED, "its run was cancelled")
        return
    allowed = scope.job.settings.timeouts.vm
    why = None if allowed is None else _runs_too_long(started_at, allowed, draft)
    if why is not None:
        draft.cancel(id_of(action), Reason.TIMED_OUT, why)


def _end(world: World, action: Sending, over: tuple[Reason, str], draft: Draft) -> None:
    if id_of(action) in world.observed.progress.running:
        reason, why = over
        code = Reason.CANCELLED if reason is Reason.RUN_CANCELLED else reason
        draft.cancel(id_of(action), code, why)


def _over(world: World, scope: Scope, action: Sending, draft: Draft) -> tuple[Reason, str] | None:
    """Say why a send is over; None if it is not: then also ask to be woken when it will be."""
    if world.is_cancelled(scope.job.name, action.due):
        run = run_id(scope.job.name, action.due)
        return Reason.RUN_CANCELLED, f"run {run} was cancelled"
    timeouts, progress = scope.job.settings.timeouts, world.observed.progress
    if timeouts.run is not None:
        over_at = instant_of(action.stamp) + timeouts.run
        if draft.now >= over_at:
            return Reason.TIMED_OUT, f"its run is older than {render_span(timeouts.run)}"
        draft.wake(over_at)
    if not progress.ended and not progress.running:
        return None
    identity = id_of(action)
    attempt = progress.ended.get(identity)
    if attempt is not None and attempt.reason == Reason.TIMED_OUT and attempt.not_before is None:
        return Reason.TIMED_OUT, attempt.why
    started_at = progress.running.get(identity)
    if timeouts.vm is None or started_at is None:
        return None
    why = _runs_too_long(started_at, timeouts.vm, draft)
    return None if why is None else (Reason.TIMED_OUT, why)


def _runs_too_long(started_at: datetime, allowed: timedelta, draft: Draft) -> str | None:
    over_at = started_at + allowed
    if draft.now >= over_at:
        return f"it has run for longer than {render_span(allowed)}"
    draft.wake(over_at)
    return None
