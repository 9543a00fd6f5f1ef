"""The tick: desired and observed in, a plan and a report out.

Wakes when a mailbox changes or when the plan said that time alone would change it. Acts on
nothing: the executor reads the plan. Nothing ever tells the loop "it worked"; it sees that it
worked, so that recovery after a crash is the same code as any other tick.
"""

import asyncio
from dataclasses import replace

import structlog

from reconciler.clock import Clock, wait_until
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.plan.planner import plan
from reconciler.status.report import Report

log = structlog.get_logger(__name__)


class Loop:
    """Turns the newest pictures into the newest plan, one tick at a time."""

    def __init__(
        self,
        desired: Latest[Desired],
        observed: Latest[Observed],
        progress: Latest[Progress],
        clock: Clock,
    ) -> None:
        self.report: Latest[Report | None] = Latest(None)
        self._desired = desired
        self._observed = observed
        self._progress = progress
        self._clock = clock
        self._bell = asyncio.Event()
        for mailbox in (desired, observed, progress):
            mailbox.ring(self._bell)

    async def run(self) -> None:
        """Tick for ever."""
        sentence = ""
        machine = asyncio.get_running_loop()
        while True:
            self._bell.clear()
            began = machine.time()
            report = await self._tick()
            if report.sentence != sentence:
                sentence = report.sentence
                log.info("tick", sentence=sentence)
            # However fast the world changes, planning takes half of a core at most.
            await asyncio.sleep(machine.time() - began)
            await wait_until(self._bell, self._clock, report.plan.wake_at)

    async def _tick(self) -> Report:
        desired = self._desired.value
        observed = replace(self._observed.value, progress=self._progress.value)
        now = self._clock.now()
        # Ten thousand VMs take most of a second: the event loop has bytes to move meanwhile.
        planned = await asyncio.to_thread(plan, desired, observed, now)
        report = Report(desired=desired, observed=observed, plan=planned, at=now)
        self.report.put(report)
        return report
