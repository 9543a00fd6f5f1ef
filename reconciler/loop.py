"""The tick: desired and observed in, a plan and a report out.

Wakes when a mailbox changes or when the plan said that time alone would change it. Acts on
nothing: the executor reads the plan. Nothing ever tells the loop "it worked"; it sees that it
worked, so that recovery after a crash is the same code as any other tick.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from reconciler.clock import Clock, wait_until
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.plan.planner import plan
from reconciler.status.report import Report
from reconciler.status.tally import Tally

log = structlog.get_logger(__name__)


_TICK_AT_LEAST = timedelta(seconds=60)
"""For so long, looks that found nothing new are let pass: lateness is still told in time."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether the loop gets on. busy_s: since when the present tick works, 0 while none does.

    longest_s: that a tick has taken so far.
    """

    busy_s: float
    longest_s: float


class Loop:
    """Turns the newest pictures into the newest plan, one tick at a time."""

    def __init__(
        self,
        desired: Latest[Desired],
        observed: Latest[Observed],
        progress: Latest[Progress],
        tally: Latest[Tally],
        clock: Clock,
    ) -> None:
        self.report: Latest[Report | None] = Latest(None)
        self._desired = desired
        self._observed = observed
        self._progress = progress
        self._tally = tally
        self._clock = clock
        self._began: float | None = None
        self._longest_s = 0.0
        self._bell = asyncio.Event()
        for mailbox in (desired, observed, progress):
            mailbox.ring(self._bell)

    async def run(self) -> None:
        """Tick for ever."""
        sentence = ""
        machine = asyncio.get_running_loop()
        while True:
            self._bell.clear()
            self._began = began = machine.time()
            before = self.report.value
            report, said = await self._tick()
            took_s = machine.time() - began
            self._began, self._longest_s = None, max(self._longest_s, took_s)
            tally = self._tally.value.after_tick(took_s)
            self._tally.put(tally.after_plan(report.plan, None if before is None else before.plan))
            if said != sentence:
                sentence = said
                log.info("tick", sentence=sentence)
            # However fast the world changes, planning takes half of a core at most.
            await asyncio.sleep(machine.time() - began)
            await self._wait(report)

    async def _wait(self, report: Report) -> None:
        """Wait until there is something to plan for that the last report did not know."""
        wake_at = report.plan.wake_at
        while True:
            await wait_until(self._bell, self._clock, wake_at)
            now = self._clock.now()
            if (wake_at is not None and now >= wake_at) or now - report.at >= _TICK_AT_LEAST:
                return
            if (
                self._desired.value is not report.desired
                or self._progress.value is not report.progress
            ):
                return
            if not _is_as_before(report.observed, self._observed.value):
                return
            self._bell.clear()

    def pulse(self) -> Pulse:
        """Say how long the present tick has been at work. Called on the loop's own event loop."""
        now = asyncio.get_running_loop().time()
        return Pulse(0.0 if self._began is None else now - self._began, self._longest_s)

    async def _tick(self) -> tuple[Report, str]:
        desired = self._desired.value
        observed = replace(self._observed.value, progress=self._progress.value)
        now = self._clock.now()
        # Ten thousand VMs take most of a second: the event loop has bytes to move meanwhile.
        report, sentence = await asyncio.to_thread(_reported, desired, observed, now)
        self.report.put(report)
        return report, sentence


def _reported(desired: Desired, observed: Observed, now: datetime) -> tuple[Report, str]:
    planned = plan(desired, observed, now)
    report = Report(desired=desired, observed=observed, plan=planned, at=now)
    return report, report.sentence


def _is_as_before(before: Observed, after: Observed) -> bool:
    """Say whether pools were looked at again and are as they were; the rest is the same value.

    As long as something that our own hands did may not have been seen yet, a later look is news.
    """
    if before.pools.keys() != after.pools.keys() or before.remotes.keys() != after.remotes.keys():
        return False
    if any(before.remotes[name] is not view for name, view in after.remotes.items()):
        return False
    seen_at = []
    for name, view in after.pools.items():
        known = before.pools[name]
        if known is view:
            continue
        if not isinstance(known, PoolView) or not isinstance(view, PoolView):
            return False
        if replace(known, as_of=view.as_of) != view:
            return False
        seen_at.append(known.as_of)
    touched = max(before.progress.touched.values(), default=None)
    return touched is None or all(touched < at for at in seen_at)
