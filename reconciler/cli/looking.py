"""One look at the world, for commands that only show something: observe, plan, change nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from reconciler.assembly import Reconciler
from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.foreground import within_grace
from reconciler.cli.loading import reveal
from reconciler.clock import Clock, SystemClock
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason
from reconciler.status.report import Report

Name = TypeVar("Name", bound=str)
Use = Callable[[Report], Awaitable[ExitCode]]


async def look(desired: Desired, patience: timedelta, use: Use) -> ExitCode:
    """Observe every pool and remote that is desired, each once; plan, and hand over the report.

    patience: what was not seen by then is Unknown. Writes nothing anywhere. Raises what `use`
    raises, and returns what it returns, even if what was waited for in vain hangs for ever.
    """
    clock = SystemClock()
    reconciler = Reconciler(Latest(desired), clock, reveal, act=False)
    failure: Failure | None = None
    code = ExitCode.ERROR
    async with asyncio.TaskGroup() as group:
        work = group.create_task(reconciler.run())
        report = await _seen_by(desired, reconciler, patience, clock)
        work.cancel()
        try:
            code = await use(report)
        except Failure as error:
            failure, code = error, error.code
        with within_grace(code, str(failure or "")):
            await asyncio.wait({work})
    if failure is not None:
        raise failure
    return code


async def _seen_by(
    desired: Desired, reconciler: Reconciler, patience: timedelta, clock: Clock
) -> Report:
    """Wait for a report in which everything has been looked at, or for the end of patience."""
    observed = Observed()
    try:
        async with (
            asyncio.timeout(patience.total_seconds()),
            aclosing(reconciler.report.follow()) as reports,
        ):
            async for report in reports:
                if report is None:
                    continue
                observed = report.observed
                if not _unseen(desired.pools, observed.pools) and not _unseen(
                    desired.remotes, observed.remotes
                ):
                    return report
    except TimeoutError:
        pass
    now = clock.now()
    observed = _give_up(desired, observed, now, patience)
    return Report(desired=desired, observed=observed, plan=plan(desired, observed, now), at=now)


def blind_spots(desired: Desired, observed: Observed) -> list[str]:
    """Say of each pool and remote that could not be seen why: one sentence each."""
    return [
        *_why_unknown("pool", desired.pools, observed.pools),
        *_why_unknown("remote", desired.remotes, observed.remotes),
    ]


def _why_unknown(kind: str, wanted: Iterable[Name], views: Mapping[Name, object]) -> list[str]:
    found = [(name, views.get(name)) for name in sorted(wanted)]
    return [f"{kind} {name}: {view.why}" for name, view in found if isinstance(view, Unknown)]


def _unseen(wanted: Iterable[Name], views: Mapping[Name, object]) -> list[Name]:
    return [name for name in wanted if name not in views]


def _give_up(desired: Desired, observed: Observed, now: datetime, patience: timedelta) -> Observed:
    why = f"it was not seen within {patience.total_seconds():.0f} s"
    pool = Unknown(since=now, reason=Reason.POOL_UNREACHABLE, why=why)
    remote = Unknown(since=now, reason=Reason.REMOTE_UNAVAILABLE, why=why)
    return replace(
        observed,
        pools={**dict.fromkeys(desired.pools, pool), **observed.pools},
        remotes={**dict.fromkeys(desired.remotes, remote), **observed.remotes},
    )
