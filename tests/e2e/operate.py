"""An operator in a process of its own, whose clock is stepped: what the end-to-end tests run.

    python operate.py MANIFESTS START [STEP…]

Instants are ISO 8601. After START and each STEP it waits until nothing is left to do and prints one
line of JSON: the instant, the restore points, what is held, and the tries that failed. Waiting for
the next try of what failed is cut short by stepping the clock.
"""

import asyncio
import json
import logging
import sys
from datetime import datetime, timedelta

import structlog

from reconciler.assembly import Reconciler
from reconciler.clock import SteppedClock
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.sources.files import ManifestFiles
from reconciler.sources.secrets import read_secret
from reconciler.status.report import Report

PATIENCE_S = 120.0
IMPATIENT_S = 2.0


def is_settled(report: Report, since: datetime) -> bool:
    observed = report.observed
    views = [*observed.pools.values(), *observed.remotes.values()]
    return (
        report.at >= since
        and len(views) == len(report.desired.pools) + len(report.desired.remotes) > 0
        and all(isinstance(view, PoolView | RemoteView) for view in views)
        and not any(is_unsure(view) for view in views)
        and not report.plan.actions
        and not observed.progress.running
    )


def is_unsure(view: object) -> bool:
    """Whether somebody's lock, perhaps our own dead predecessor's, is still in the way."""
    return isinstance(view, RemoteView) and any(
        not isinstance(history, History) or history.locked_by_others
        for history in view.histories.values()
    )


def summary(report: Report) -> dict[str, object]:
    points = [
        {
            "vm": point.vm,
            "remote": view.name,
            "stamp": point.stamp,
            "disks": {disk.disk: disk.path for disk in point.disks},
        }
        for view in report.observed.remotes.values()
        if isinstance(view, RemoteView)
        for history in view.histories.values()
        if isinstance(history, History)
        for point in history.points
    ]
    failed = [
        f"{id_}: {attempt.reason}: {attempt.why}"
        for id_, attempt in report.observed.progress.ended.items()
        if not attempt.succeeded
    ]
    held = [f"{each.subject}: {each.reason}: {each.why}" for each in report.plan.held]
    return {"at": report.at.isoformat(), "points": points, "failed": failed, "held": held}


async def settle(reconciler: Reconciler, clock: SteppedClock, since: datetime) -> Report:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                async with asyncio.timeout(IMPATIENT_S):
                    async for report in reconciler.report.follow():
                        if report is not None and is_settled(report, since):
                            return report
            except TimeoutError:
                clock.step(timedelta(seconds=20))


async def operate(manifests: str, start: datetime, steps: list[datetime]) -> None:
    clock = SteppedClock(start)
    desired = Latest(Desired())
    reconciler = Reconciler(desired, clock, lambda ref: read_secret(ref).reveal())
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ManifestFiles([manifests]).publish(desired)),
            group.create_task(reconciler.run()),
        ]
        for instant in [start, *steps]:
            clock.step_to(instant)
            report = await settle(reconciler, clock, instant)
            print(json.dumps(summary(report)), flush=True)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    manifests, *instants = sys.argv[1:]
    start, *steps = map(datetime.fromisoformat, instants)
    asyncio.run(operate(manifests, start, steps))
