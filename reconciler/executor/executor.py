"""Actions happen here: what the plan wants and `admit` lets in is run, and its end is noted.

The one place that starts tasks for actions; `hands.py` says who carries them out. A step may fail
in any way; only `verdict.py` says what a failure means. What a step did is never reported to the
planner: it is observed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from structlog.contextvars import bind_contextvars

from reconciler.clock import Clock, wait_until
from reconciler.desired.state import Desired
from reconciler.executor.hands import Hands, Party
from reconciler.executor.records import Records
from reconciler.executor.transfers import Gauge, Transfers
from reconciler.executor.verdict import verdict
from reconciler.ids import ActionId
from reconciler.latest import Latest
from reconciler.observed.progress import Attempt, Progress
from reconciler.plan.actions import Action, Sending, id_of, run_of
from reconciler.plan.admit import decide, subject_of
from reconciler.plan.claims import claims_of, claims_of_party, touched_by
from reconciler.plan.plan import Cancel
from reconciler.plan.reasons import Reason
from reconciler.status.report import Report
from reconciler.status.tally import Tally

log = structlog.get_logger(__name__)

V = TypeVar("V")

_MEMORY = timedelta(days=1)  # longer than any back-off: what is forgotten counts as never tried


@dataclass(frozen=True, slots=True)
class _Running:
    action: Action
    party: Party
    task: asyncio.Task[None]


class Executor:
    """Runs admitted actions until cancelled; running steps then end with their tasks."""

    def __init__(
        self,
        report: Latest[Report | None],
        progress: Latest[Progress],
        tally: Latest[Tally],
        hands: Hands,
        records: Records,
        clock: Clock,
    ) -> None:
        self.transfers = Transfers()
        self._report = report
        self._progress = progress
        self._tally = tally
        self._hands = hands
        self._records = records
        self._clock = clock
        self._running: dict[ActionId, _Running] = {}
        self._cancelled: dict[ActionId, Cancel] = {}

    async def run(self) -> None:
        """Follow the plan for ever."""
        bell = asyncio.Event()
        self._report.ring(bell)
        async with asyncio.TaskGroup() as group:
            for party in await self._hands.under_way():
                self._start(group, party, (await self._first_report()).desired)
            while True:
                bell.clear()
                report = self._report.value
                wake_at = self._follow(group, report) if report is not None else None
                await wait_until(bell, self._clock, wake_at)

    async def _first_report(self) -> Report:
        async for report in self._report.follow():
            if report is not None:
                return report
        raise AssertionError("a mailbox is followed for ever")

    def _follow(self, group: asyncio.TaskGroup, report: Report) -> datetime | None:
        """Start and cancel what a plan says; return when to ask again.

        A plan is judged by the very picture it was made from: with a newer one, an action that was
        planned on an old view would pass for one that was planned on the new.
        """
        for cancel in report.plan.cancel:
            running = self._running.get(cancel.action)
            # Once: it takes its time to end, during which the plan says so again.
            if running is not None and cancel.action not in self._cancelled:
                self._cancelled[cancel.action] = cancel
                running.party.give_up(running.action)
                running.task.cancel()
        observed = replace(report.observed, progress=self._progress.value)
        admission = decide(report.plan, report.desired, observed, self._clock.now())
        for party in admission.starts:
            self._start(group, party, report.desired)
        return admission.wake_at

    def _start(self, group: asyncio.TaskGroup, party: Sequence[Action], desired: Desired) -> None:
        """Start together what reads together."""
        started_at = self._clock.now()
        ids = [id_of(action) for action in party]
        claims = claims_of_party(party, desired, started_at)
        progress = self._progress.value
        self._progress.put(
            replace(
                progress,
                running={**progress.running, **dict.fromkeys(ids, started_at)},
                claims={**progress.claims, **dict(zip(ids, claims, strict=True))},
            )
        )
        taken = self._hands.take(group, party, desired)
        for id_, action in zip(ids, party, strict=True):
            task = group.create_task(self._take_part(action, started_at, taken), name=id_)
            self._running[id_] = _Running(action, taken, task)

    async def _take_part(self, action: Action, started_at: datetime, party: Party) -> None:
        gauge = self.transfers.begin(action, started_at)
        attempt: Attempt | None = None
        try:
            with party.taking_part(action):
                attempt = await self._carry_out(action, gauge, started_at, party)
        finally:
            self._note_end(action, attempt or self._attempt(action, None))

    async def _carry_out(
        self, action: Action, gauge: Gauge, started_at: datetime, party: Party
    ) -> Attempt:
        """See one action to its end. Only a cancelled process lets an exception out."""
        try:
            gauge.row = self._records.new_row()
            await self._records.begin(gauge.row, action, started_at)
            bind_contextvars(run=run_of(action), action=id_of(action))
            log.info("action started", **_fields(action), reason=action.reason)
            await party.carry_out(action, gauge)
        except asyncio.CancelledError:
            cancel = self._cancelled.get(id_of(action))
            attempt = self._attempt(action, cancel)
            outcome = attempt.reason if cancel is not None else "Interrupted"
            log.info("action ended early", **_fields(action), reason=attempt.reason)
            await self._note_record(action, attempt, gauge, outcome)
            if cancel is None:
                raise
        except Exception as error:
            attempt = verdict(action, error, self._before(action), self._clock.now())
            log.warning(
                "action failed",
                **_fields(action),
                reason=attempt.reason,
                why=attempt.why,
                again=str(attempt.not_before),
                exc_info=error if attempt.reason == Reason.INTERNAL_ERROR else None,
            )
            await self._note_record(action, attempt, gauge, "Failed")
        else:
            attempt = Attempt(ended_at=self._clock.now(), succeeded=True)
            log.info("action ended", **_fields(action), bytes=gauge.done_bytes)
            await self._note_record(action, attempt, gauge, "Succeeded")
        return attempt

    def _before(self, action: Action) -> Attempt | None:
        return self._progress.value.ended.get(id_of(action))

    def _attempt(self, action: Action, cancel: Cancel | None) -> Attempt:
        """How an action ended that was told to; None: with the whole process."""
        now = self._clock.now()
        before = self._before(action)
        reason = Reason.INTERRUPTED if cancel is None else cancel.reason
        # What took too long is not tried again for the same snapshot; the next slot makes another.
        final = reason is Reason.TIMED_OUT and isinstance(action, Sending)
        return Attempt(
            ended_at=now,
            succeeded=False,
            count=before.count if before is not None else 0,
            not_before=None if final else now,
            reason=reason,
            why=f"{action.verb} was interrupted" if cancel is None else cancel.why,
        )

    def _note_end(self, action: Action, attempt: Attempt) -> None:
        id_ = id_of(action)
        progress = self._progress.value
        touched = dict.fromkeys(touched_by(claims_of(action)), attempt.ended_at)
        self._running.pop(id_, None)
        self._cancelled.pop(id_, None)
        # No await in between: a byte is counted as moving or as moved, never as both or neither.
        moved = self.transfers.end(action)
        self._tally.put(
            self._tally.value.after_try(
                action,
                attempt,
                seconds=(attempt.ended_at - moved.started_at).total_seconds(),
                moved_bytes=moved.done_bytes,
            )
        )
        self._progress.put(
            Progress(
                running=_without(progress.running, id_),
                claims=_without(progress.claims, id_),
                ended=_recent({**progress.ended, id_: attempt}, attempt.ended_at),
                touched={**progress.touched, **touched},
            )
        )

    async def _note_record(
        self, action: Action, attempt: Attempt, gauge: Gauge, outcome: str
    ) -> None:
        """Write down how an action ended. From here on no plan's word ends it any more."""
        self._running.pop(id_of(action), None)
        written = self._records.end(
            gauge.row, attempt.ended_at, outcome, attempt.reason, attempt.why, gauge.done_bytes
        )
        await asyncio.shield(written)


def _without(entries: Mapping[ActionId, V], id_: ActionId) -> dict[ActionId, V]:
    return {other: entry for other, entry in entries.items() if other != id_}


def _recent(ended: Mapping[ActionId, Attempt], now: datetime) -> dict[ActionId, Attempt]:
    return {id_: attempt for id_, attempt in ended.items() if now - attempt.ended_at < _MEMORY}


def _fields(action: Action) -> dict[str, str]:
    return {"action": id_of(action), "subject": subject_of(action)}
