"""The tick: desired and observed in, a plan and a report out.

Wakes when a mailbox changes or when the plan said that time alone would change it. Acts on
nothing: the executor reads the plan. Nothing ever tells the loop "it worked"; it sees that it
worked, so that recovery after a crash is the same code as any other tick.
"""

import asyncio
from dataclasses import dataclass, replace

import structlog

from reconciler.clock import Clock, wait_until
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.plan.planner import plan
from reconciler.status.report import Report
from reconciler.status.tally import Tally

log = structlog.get_logger(__name__)


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
            report = await self._tick()
            took_s = machine.time() - began
            self._began, self._longest_s = None, max(self._longest_s, took_s)
            self._tally.put(self._tally.value.after_tick(took_s))
            if report.sentence != sentence:
                sentence = report.sentence
                log.info("tick", sentence=sentence)
            # However fast the world changes, planning takes half of a core at most.
            await asyncio.sleep(machine.time() - began)
            await wait_until(self._bell, self._clock, report.plan.wake_at)

    def pulse(self) -> Pulse:
        """Say how long the present tick has been at work. Called on the loop's own event loop."""
        now = asyncio.get_running_loop().time()
        return Pulse(0.0 if self._began is None else now - self._began, self._longest_s)

    async def _tick(self) -> Report:
        desired = self._desired.value
        observed = replace(self._observed.value, progress=self._progress.value)
        now = self._clock.now()
        # Ten thousand VMs take most of a second: the event loop has bytes to move meanwhile.
        planned = await asyncio.to_thread(plan, desired, observed, now)
        report = Report(desired=desired, observed=observed, plan=planned, at=now)
        self.report.put(report)
        return report
