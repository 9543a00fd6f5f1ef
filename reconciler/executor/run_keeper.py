"""Keeps the runs: opens and closes them as plans tell, and notes what becomes of each slot.

A watcher that decides nothing: it reads reports, counts what moves, and writes the history file.
Lines that are logged while a run's action is at work are kept with the run (`logs RUN`).
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from structlog.contextvars import get_contextvars

from reconciler.clock import Clock
from reconciler.executor.outcomes import state_of
from reconciler.executor.records import Records, Try
from reconciler.executor.run_pictures import CLOSED_MAX, RunPicture, picture_of
from reconciler.executor.run_records import RunRecords
from reconciler.executor.transfers import Transfers
from reconciler.ids import JobName, RunId, ScheduleId
from reconciler.latest import Latest
from reconciler.plan.reasons import Reason
from reconciler.status.report import Report
from reconciler.status.runs import (
    NotedRun,
    OpenRun,
    PassedSlot,
    RunState,
    Trigger,
    open_runs,
    passed_slots,
)
from reconciler.status.tally import Tally

_LOOK_S = 2.0
_LINES_WAITING_MAX = 10_000
RUN_KEY = "run"
"""Under which executing tasks say in structlog's context which run they work for."""


class RunLines:
    """A structlog processor: keeps the lines of runs until the keeper writes them down."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._waiting: deque[tuple[str, datetime, str, str, str]] = deque(maxlen=_LINES_WAITING_MAX)

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        run = get_contextvars().get(RUN_KEY)
        if run:
            fields = {key: str(value) for key, value in event.items() if key not in _NOT_FIELDS}
            text = json.dumps(fields)
            self._waiting.append((run, self._now(), method, str(event.get("event", "")), text))
        return event

    def take(self) -> list[tuple[str, datetime, str, str, str]]:
        lines = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        return lines


_NOT_FIELDS = frozenset({"event", "level", "timestamp", "exc_info", RUN_KEY})


class RunKeeper:
    """Follows reports until cancelled. ended: the newest run of each job that has ended.

    transfers: what is moving; lines: None keeps no log. pictures: where a door follows runs that
    are open, and those that ended lately; None: none does.
    """

    def __init__(
        self,
        report: Latest[Report | None],
        records: Records,
        transfers: Transfers,
        tally: Latest[Tally],
        clock: Clock,
        lines: RunLines | None = None,
        pictures: Latest[tuple[RunPicture, ...] | None] | None = None,
    ) -> None:
        self._pictures = pictures
        self._closed: dict[RunId, RunPicture] = {}
        self._report = report
        self._records = records
        self._runs = RunRecords(records)
        self._transfers = transfers
        self._tally = tally
        self._clock = clock
        self._lines = lines
        self.ended: Latest[Mapping[JobName, NotedRun]] = Latest({})
        self._open: dict[RunId, NotedRun] = {}
        self._slots: dict[tuple[JobName, ScheduleId], datetime] = {}

    async def run(self) -> None:
        """Note what happens, for ever."""
        self._open = {row.id: row for row in await self._runs.open_rows()}
        self._slots = await self._runs.slots()
        self.ended.put(await self._runs.last_ended())
        failures = await self._runs.failures_in_a_row()
        self._tally.put(self._tally.value.knowing(failures))
        bell = asyncio.Event()
        self._report.ring(bell)
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        try:
            while True:
                bell.clear()
                report = self._report.value
                if report is not None and report.is_whole:
                    await self._note(report)
                if loop.time() >= look_at:  # however often reports come
                    await self._note_progress()
                    await self._show(report)
                    look_at = loop.time() + _LOOK_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(look_at):
                        await bell.wait()
        finally:
            if self._lines is not None:
                await asyncio.shield(self._runs.add_lines(self._lines.take()))

    async def _note_progress(self) -> None:
        await self._records.progress(self._transfers.rows())
        if self._lines is not None:
            await self._runs.add_lines(self._lines.take())

    async def _show(self, report: Report | None) -> None:
        """Put the pictures where a door looks, if any is another."""
        if self._pictures is None or report is None or not report.is_whole:
            return
        shown = [picture_of(row, await self._runs.tries_of(row.id)) for row in self._open.values()]
        pictures = (*self._closed.values(), *shown)
        if pictures != self._pictures.value:
            self._pictures.put(pictures)

    def _keep_closed(self, picture: RunPicture) -> None:
        self._closed.pop(picture.row.id, None)
        self._closed[picture.row.id] = picture
        for run in list(self._closed)[:-CLOSED_MAX]:
            del self._closed[run]

    async def _note(self, report: Report) -> None:
        self._tally.put(self._tally.value.of_jobs(report.desired.jobs.keys()))
        wanted = open_runs(report.plan, report.progress)
        await self._note_slots(report, wanted)
        for run in wanted.values():
            await self._note_open(run)
        working = {transfer.run for transfer in self._transfers.read()}
        for run_id in self._open.keys() - wanted.keys() - working:
            await self._close(report, self._open[run_id])

    # ── slots ──

    async def _note_slots(self, report: Report, wanted: dict[RunId, OpenRun]) -> None:
        idle = frozenset(
            JobName(held.subject.removeprefix("job "))
            for held in report.plan.held
            if held.reason is Reason.NO_VMS_MATCHED
        )
        newest = dict(self._slots)
        for slot in passed_slots(report.desired, self._slots, idle, report.at):
            newest[slot.job, slot.schedule] = slot.due
            if slot.state is not None and slot.run not in self._open and slot.run not in wanted:
                await self._note_passed(slot, report.at)
        for job in report.desired.jobs.values():
            for schedule in job.schedules:
                last = schedule.schedule.last_due(report.at)
                if (job.name, schedule.id) not in newest and last is not None:
                    newest[job.name, schedule.id] = last
        if newest != self._slots:
            self._slots = newest
            await self._runs.note_slots(newest)

    async def _note_passed(self, slot: PassedSlot, now: datetime) -> None:
        assert slot.state is not None
        if slot.state is RunState.MISSED:
            self._tally.put(self._tally.value.after_missed(slot.job, slot.schedule))
        await self._put_ended(
            NotedRun(
                id=slot.run,
                job=slot.job,
                due=slot.due,
                cause=Trigger.SCHEDULED,
                state=slot.state,
                why=slot.why,
                vms=0,
                opened_at=now,
                closed_at=now,
            )
        )

    # ── runs ──

    async def _note_open(self, run: OpenRun) -> None:
        known = self._open.get(run.run)
        row = known or NotedRun(
            id=run.run,
            job=run.job,
            due=run.due,
            cause=run.cause,
            state=RunState.PENDING,
            why=run.why,
            vms=len(run.vms),
            opened_at=self._clock.now(),
            closed_at=None,
        )
        has_begun = run.running or row.state in (RunState.RUNNING, RunState.INTERRUPTED)
        row = replace(
            row,
            state=RunState.RUNNING if has_begun else RunState.PENDING,
            why=run.why,
            vms=max(row.vms, len(run.vms)),
        )
        if row != known:
            self._closed.pop(run.run, None)  # it goes on
            self._open[run.run] = row
            await self._runs.put(row)

    async def _close(self, report: Report, row: NotedRun) -> None:
        """Say how a run ended that nothing is wanted of any more."""
        tries = await self._runs.tries_of(row.id)
        cancelled = any(each.run == row.id for each in report.desired.cancellations)
        state, why = state_of(tries, cancelled=cancelled, last_why=row.why)
        del self._open[row.id]
        now = self._clock.now()
        seconds = (now - row.opened_at).total_seconds()
        self._tally.put(self._tally.value.after_run(row.job, row.cause, state, seconds))
        await self._put_ended(replace(row, state=state, why=why, closed_at=now), tries)

    async def _put_ended(self, row: NotedRun, tries: Sequence[Try] = ()) -> None:
        self._keep_closed(picture_of(row, tries))
        await self._runs.put(row)
        known = self.ended.value.get(row.job)
        if known is None or known.due <= row.due:
            self.ended.put({**self.ended.value, row.job: row})
