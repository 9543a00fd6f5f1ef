"""Rule: which VMs are owed a restore point now, and the one snapshot that will settle it.

A promise is kept or open at each destination by itself. The last slot of a schedule is *answered*
at one of the schedule's destinations by a point of the job, made for that schedule, taken at or
after the slot. Older slots are never asked for: whatever was missed collapses into one run
(`CatchUp`). A request for a run is answered by any point of the job taken at or after it, and is
for all destinations. A slot or request whose run was cancelled counts as dealt with; see also
`given_up.py`.

A schedule that has ever been answered for a VM owes its last slot however late: that was promised.
One that never was waits for its next slot once the last one is older than the schedule's deadline:
writing a manifest in the afternoon, adding a schedule or adopting the points of another tool starts
no backup by itself. `runOnCreate` says otherwise, for VMs without any point of the job.

One snapshot answers all that is open. It names every schedule whose slot is not seen answered at
*every* one of its destinations; which of them count where is decided when it is sent there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from reconciler.desired.state import Job
from reconciler.ids import ScheduleId, Stamp, run_id, stamp_of
from reconciler.plan import given_up
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import MarkedSnapshot, Scope, Target
from reconciler.plan.slots import Slot, answered
from reconciler.plan.snapshot import excluded_disks, snapshot_of
from reconciler.plan.world import Obstacle, World


def request_of(world: World, job: Job, draft: Draft) -> datetime | None:
    """Return the latest moment that has come for which a run of the job was asked, to the second.

    Points are named to the second; one taken in the second of the request answers it.
    """
    asked = [
        at
        for request in world.desired.requests
        if request.job == job.name
        and not world.is_cancelled(job.name, at := request.at.replace(microsecond=0))
    ]
    for at in asked:
        if at > draft.now:
            why = "a run was asked for, but not before its time"
            draft.hold(f"job {job.name}", Reason.WAITING_FOR_SLOT, why, until=at)
    return max((at for at in asked if at <= draft.now), default=None)


def without_cancelled(
    world: World, job: Job, slots: Mapping[ScheduleId, Slot], draft: Draft
) -> dict[ScheduleId, Slot]:
    """Leave out the slots whose run was cancelled, and say which."""
    stay = {}
    said = set()
    for identity, slot in slots.items():
        if not world.is_cancelled(job.name, slot.at):
            stay[identity] = slot
            continue
        if slot.at not in said:
            said.add(slot.at)
            why = f"run {run_id(job.name, slot.at)} was cancelled; the next slot is owed as ever"
            draft.hold(f"job {job.name}", Reason.RUN_CANCELLED, why, until=slot.next)
    return stay


def rule(
    world: World,
    scope: Scope,
    slots: Mapping[ScheduleId, Slot],
    request: datetime | None,
    draft: Draft,
) -> bool:
    """Fill in what each target is owed; plan the snapshot that settles it, or say why not.

    Returns whether one is wanted.

    slots: of the job's schedules that are not suspended. request: see `request_of`.
    """
    promised = _promised(scope, slots)
    owed = given_up.without(world, scope, promised, draft)
    wanted = None if given_up.answers(scope, request, draft) else request
    for target in scope.targets:
        if target.history is None:
            continue
        target.owed = tuple(
            slot
            for slot in owed
            if slot.schedule.id in target.site.schedules
            and not answered(target.points, slot.schedule.id, slot.at)
        )
        newest = target.newest
        if wanted is not None and (newest is None or newest.taken_at < wanted):
            target.requested = wanted
    seen = [target for target in scope.targets if target.history is not None]
    is_owed = any(target.owed or target.requested for target in seen)
    for slot in promised if is_owed or not scope.enrolled or len(owed) < len(promised) else ():
        if not slot.late:
            draft.wake(slot.late_at)  # from then on it is a catch-up, or no longer owed
    if is_owed:
        return _settle(scope, owed, seen, draft)
    if not scope.enrolled and slots and not promised:
        _wait_for_first_slot(scope, slots, draft)
    return False


def _promised(scope: Scope, slots: Mapping[ScheduleId, Slot]) -> list[Slot]:
    """Return the slots that count for this VM, answered or not."""
    return [
        slot
        for slot in slots.values()
        if not slot.late
        or _has_answered(scope, slot.schedule.id)
        or (scope.job.run_on_create and not scope.enrolled)
    ]


def _has_answered(scope: Scope, schedule: ScheduleId) -> bool:
    return any(
        schedule in point.schedules for target in scope.targets for point in reversed(target.points)
    ) or any(schedule in snapshot.marks.schedules for snapshot in scope.snapshots)


def _wait_for_first_slot(scope: Scope, slots: Mapping[ScheduleId, Slot], draft: Draft) -> None:
    draft.hold(
        _subject(scope),
        Reason.WAITING_FOR_SLOT,
        "it has no restore point yet; its first backup is made at the next slot",
        until=min((slot.next for slot in slots.values() if slot.next is not None), default=None),
    )


def _settle(scope: Scope, promised: Sequence[Slot], seen: Sequence[Target], draft: Draft) -> bool:
    newest = scope.newest_snapshot()
    open_at = [target for target in seen if _is_open(target, newest)]
    if not open_at:
        return False  # the snapshot is there: exports go on from it
    owed = {
        slot.schedule.id: slot
        for target in open_at
        for slot in target.owed
        if not _covers(newest, slot)
    }
    requests = [target.requested for target in open_at if target.requested is not None]
    action = snapshot_of(
        scope,
        schedules=tuple(
            slot.schedule.id
            for slot in promised
            if any(
                slot.schedule.id in target.site.schedules
                and (target.history is None or slot in target.owed)
                for target in scope.targets
            )
        ),
        due=min([*(slot.at for slot in owed.values()), *requests]),
        reason=_reason(scope, owed.values()) if owed else Reason.REQUESTED,
        requested=max(requests, default=None),
    )
    obstacle = _obstacle(scope, open_at)
    if obstacle is None:
        draft.do(action)
    else:
        draft.hold(_subject(scope), obstacle.reason, obstacle.why, action)
    return True


def _is_open(target: Target, newest: MarkedSnapshot | None) -> bool:
    """Say whether a debt of the target cannot be settled by exporting the newest snapshot."""
    return any(not _covers(newest, slot) for slot in target.owed) or (
        target.requested is not None and not _is_since(newest, stamp_of(target.requested))
    )


def _covers(newest: MarkedSnapshot | None, slot: Slot) -> bool:
    return (
        newest is not None
        and newest.stamp >= slot.stamp
        and slot.schedule.id in newest.marks.schedules
    )


def _is_since(newest: MarkedSnapshot | None, stamp: Stamp) -> bool:
    return newest is not None and newest.stamp >= stamp


def _reason(scope: Scope, owed: Iterable[Slot]) -> Reason:
    return Reason.CATCH_UP if any(_is_catch_up(scope, slot) for slot in owed) else Reason.SCHEDULED


def _is_catch_up(scope: Scope, slot: Slot) -> bool:
    """Say whether the slot is late, or stands for more than itself."""
    if slot.late:
        return True
    if slot.before is None:
        return False
    identity = slot.schedule.id
    last = [
        next(
            (each.taken_at for each in reversed(target.points) if identity in each.schedules), None
        )
        for target in scope.targets
    ]
    answers = [taken_at for taken_at in last if taken_at is not None]
    return bool(answers) and max(answers) < slot.before


def _obstacle(scope: Scope, open_at: Sequence[Target]) -> Obstacle | None:
    """Say why no snapshot is taken although one is owed; None if nothing is in the way.

    A snapshot that could not be sent anywhere would only cost space. One destination that can
    take the point is enough: the others follow from the same snapshot when they can.
    """
    if scope.vm.busy:
        return Obstacle(Reason.VM_BUSY, f"under way on it: {', '.join(scope.vm.busy)}")
    if not scope.vm.disks:
        return Obstacle(Reason.NO_DISKS, "it has no disk that can be backed up")
    if len(excluded_disks(scope.job, scope.vm)) == len(scope.vm.disks):
        return Obstacle(Reason.NO_DISKS, "all its disks are excluded")
    if any(target.obstacle is None and not target.receiving for target in open_at):
        return None
    for target in open_at:
        if target.obstacle is not None:
            return Obstacle(target.obstacle.reason, f"{target.site.label}: {target.obstacle.why}")
    places = ", ".join(target.site.label for target in open_at)
    return Obstacle(Reason.ALREADY_RUNNING, f"it is still being sent to {places}")


def _subject(scope: Scope) -> str:
    return f"VM {scope.vm.name} of job {scope.job.name}"
