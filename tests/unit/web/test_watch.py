"""What is answered to whom: metrics of the newest report, written once for all who ask."""

import asyncio
import gzip
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from scenes import Scene, job, wanting

from reconciler.clock import SteppedClock
from reconciler.latest import Latest
from reconciler.loop import Pulse
from reconciler.status.report import Report
from reconciler.status.tally import Tally
from reconciler.web.server import Request
from reconciler.web.watch import Watch

NOW = datetime(2026, 8, 21, 2, 10, tzinfo=UTC)
TONIGHT = "{job: nightly, at: 2026-08-21 02:00:00, schedules: [night]}"


class Bench:
    """What a reconciler lets be seen, put in by hand."""

    def __init__(self, **settings: Any) -> None:
        self.clock = SteppedClock(NOW)
        self.report: Latest[Report | None] = Latest(None)
        self.pulse = Pulse(0.0, 0.0)
        self.leading = True
        self.runs = True
        self.watch = Watch(
            lambda: self._seen() if self.runs else None,
            self.clock,
            "1.2.3",
            leading=lambda: self.leading,
            **settings,
        )

    def _seen(self) -> Any:
        return SimpleNamespace(
            report=self.report, tally=Tally, transfers=lambda: (), pulse=lambda: self.pulse
        )

    def see(self, remotes: str = "{}") -> None:
        scene = Scene(
            wanting(job()),
            f"now: {NOW:%Y-%m-%d %H:%M:%S}\npools: {{east: {{vms: {{web: {{}}}}}}}}\n"
            f"remotes: {remotes}",
        )
        self.report.put(Report(scene.desired, scene.observed, scene.plan, scene.now))

    async def get(self, path: str, **headers: str) -> Any:
        return await self.watch.answer(Request("GET", path, headers))

    def forget(self) -> None:
        """What took long to write would be good for as long."""
        self.watch._written.clear()

    async def value(self, name: str) -> float | None:
        text = (await self.get("/metrics")).body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name:
                    return float(sample.value)
        return None


KEPT = f"{{nas: {{vms: {{web: {{points: [{TONIGHT}]}}}}}}}}"


async def test_metrics_are_those_of_the_newest_report_at_this_instant() -> None:
    bench = Bench(fresh_s=0.0)
    assert await bench.value("reconciler_vm_rpo_exposure_seconds") is None
    assert await bench.value("reconciler_leader") == 1
    bench.see(KEPT)
    bench.forget()
    assert round(await bench.value("reconciler_vm_rpo_exposure_seconds") or 0) == 600
    bench.forget()
    bench.clock.step(timedelta(hours=1))
    assert round(await bench.value("reconciler_vm_rpo_exposure_seconds") or 0) == 4200


async def test_what_was_written_a_moment_ago_is_not_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(fresh_s=600.0)
    bench.see(KEPT)
    written = []
    write = bench.watch._exposition.write
    monkeypatch.setattr(
        bench.watch._exposition, "write", lambda *given: (written.append(given), write(*given))[1]
    )
    answers = await asyncio.gather(*(bench.get("/metrics") for _ in range(20)))
    assert len({answer.body for answer in answers}) == len(written) == 1
    packed = await bench.get("/metrics", **{"accept-encoding": "gzip, deflate"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert b"reconciler_vm_info" in gzip.decompress(packed.body)


async def test_ready_once_is_ready_whatever_is_added() -> None:
    bench = Bench()
    assert (await bench.get("/readyz")).status == 503
    bench.see("{}")
    answer = await bench.get("/readyz")
    assert answer.status == 503
    assert b"remote nas" in answer.body
    bench.see(KEPT)
    assert (await bench.get("/readyz")).status == 200
    bench.see("{}")
    answer = await bench.get("/readyz")
    assert answer.status == 200
    assert b"not looked at yet" in answer.body, "it says so all the same"


async def test_who_stands_by_is_ready_and_alive_and_no_leader() -> None:
    bench = Bench(fresh_s=0.0)
    bench.leading = bench.runs = False
    assert (await bench.get("/readyz")).status == 200
    assert (await bench.get("/healthz")).status == 200
    assert await bench.value("reconciler_leader") == 0
    bench.leading = bench.runs = True
    assert (await bench.get("/readyz")).status == 503, "it has yet to look"


async def test_a_stuck_loop_is_not_healthy() -> None:
    bench = Bench()
    assert (await bench.get("/healthz")).status == 200
    bench.pulse = Pulse(10_000.0, 1.0)
    assert (await bench.get("/healthz")).status == 503


async def test_elsewhere_is_nothing() -> None:
    answer = await Bench().get("/")
    assert answer.status == 404
    assert b"/metrics, /healthz, /readyz" in answer.body
