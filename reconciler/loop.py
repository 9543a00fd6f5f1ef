"""The tick: desired and observed in, a plan and a report out.

Wakes when a mailbox changes or when the plan said that time alone would change it. Acts on
nothing: the executor reads the plan. Nothing ever tells the loop "it worked"; it sees that it
worked, so that recovery after a crash is the same code as any other tick.

Looks that found nothing new do not wake it. Now and then they are reported all the same, with the
plan that stands: planning is the same until `wake_at`, but lateness, space and instants are told.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from reconciler.clock import Clock, wait_until
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.observed.looks import found_nothing_new
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.plan.planner import plan
from reconciler.status.report import Report
from reconciler.status.tally import Tally

log = structlog.get_logger(__name__)


_RENEWED_EVERY = timedelta(seconds=60)
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
        """Wait until there is something to tell that the last report did not say."""
        while True:
            await wait_until(self._bell, self._clock, report.plan.wake_at)
            now = self._clock.now()
            if now - report.at >= _RENEWED_EVERY or not self._stands(report, now):
                return
            self._bell.clear()

    def _stands(self, report: Report, now: datetime) -> bool:
        """Say whether a plan made now would be the same."""
        wake_at = report.plan.wake_at
        return (
            (wake_at is None or now < wake_at)
            and self._desired.value is report.desired
            and self._progress.value is report.progress
            and found_nothing_new(report.observed, self._observed.value)
        )

    def pulse(self) -> Pulse:
        """Say how long the present tick has been at work. Called on the loop's own event loop."""
        now = asyncio.get_running_loop().time()
        return Pulse(0.0 if self._began is None else now - self._began, self._longest_s)

    async def _tick(self) -> tuple[Report, str]:
        desired, known = self._desired.value, self.report.value
        observed = replace(self._observed.value, progress=self._progress.value)
        now = self._clock.now()
        standing = known if known is not None and self._stands(known, now) else None
        # Ten thousand VMs take most of a second: the event loop has bytes to move meanwhile.
        report, sentence = await asyncio.to_thread(_reported, standing, desired, observed, now)
        self.report.put(report)
        return report, sentence


def _reported(
    standing: Report | None, desired: Desired, observed: Observed, now: datetime
) -> tuple[Report, str]:
    """standing: the last one, if its plan is still the one that would be made."""
    if standing is not None:
        report = standing.renewed(observed, now)
    else:
        planned = plan(desired, observed, now)
        report = Report(desired=desired, observed=observed, plan=planned, at=now)
    return report, report.sentence
