"""Slots: when a schedule's points fall due, and which point answers which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from reconciler.desired.schedule import Schedule
from reconciler.desired.state import Job, JobSchedule
from reconciler.ids import ScheduleId, Stamp, instant_of, stamp_of


class Point(Protocol):
    """What counts as a restore point at a destination: on a remote, on an SR, or on the pool."""

    @property
    def stamp(self) -> Stamp: ...

    @property
    def taken_at(self) -> datetime: ...

    @property
    def schedules(self) -> tuple[ScheduleId, ...]: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """The last slot of a schedule. before, next: the slots around it, None where there is none.

    late: the slot is older than the schedule's deadline, which it is from `late_at` on.
    """

    schedule: JobSchedule
    at: datetime
    stamp: Stamp
    before: datetime | None
    next: datetime | None
    late_at: datetime
    late: bool


def slots_of(job: Job, now: datetime) -> dict[ScheduleId, Slot]:
    """Work out the last slot of each schedule that has had one, suspended ones included."""
    slots = {}
    for schedule in job.schedules:
        at = schedule.schedule.last_due(now)
        if at is None:
            continue
        following = schedule.schedule.next_due(now)
        late_at = at + schedule.deadline + timedelta.resolution
        slots[schedule.id] = Slot(
            schedule=schedule,
            at=at,
            stamp=stamp_of(at),
            before=_slot_before(schedule.schedule, at),
            next=following if following.year < datetime.max.year else None,
            late_at=late_at,
            late=now >= late_at,
        )
    return slots


@lru_cache(maxsize=4096)
def _slot_before(schedule: Schedule, slot: datetime) -> datetime | None:
    return schedule.last_due(slot - timedelta.resolution)


def slot_at(slots: Mapping[ScheduleId, Slot], schedule: ScheduleId, stamp: Stamp) -> datetime:
    """Return the slot that a snapshot with this stamp answers for a schedule of the job."""
    slot = slots[schedule]
    if stamp >= slot.stamp:
        return slot.at
    taken_at = instant_of(stamp)
    return slot.schedule.schedule.last_due(taken_at) or taken_at


def answered(points: Sequence[Point], schedule: ScheduleId, since: datetime) -> bool:
    """Say whether one of the points, oldest first, answers a schedule's slot at `since`."""
    for point in reversed(points):
        if point.taken_at < since:
            return False
        if schedule in point.schedules:
            return True
    return False


def next_of(slots: Mapping[ScheduleId, Slot], schedules: frozenset[ScheduleId]) -> datetime | None:
    """Return when the next slot of any of these schedules comes, suspended ones aside."""
    return min(
        (
            slot.next
            for identity, slot in slots.items()
            if identity in schedules and slot.next is not None and not slot.schedule.suspend
        ),
        default=None,
    )
