"""Metrics are true: a reconciler at work on the lab, scraped as Prometheus does it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
from party import Party, running, with_point
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reconciler.ids import Stamp, instant_of
from reconciler.lab.faults import FailCall
from reconciler.lab.transfers import EXPORT
from reconciler.web.listen import Address, address_of, bind
from reconciler.web.watch import Watch

Sample = dict[str, str]


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.samples = [
            (sample.name.removeprefix("reconciler_"), sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def all(self, name: str, /, **labels: str) -> list[tuple[Sample, float]]:
        return [
            (mine, value)
            for each, mine, value in self.samples
            if each == name and mine.items() >= labels.items()
        ]

    def value(self, name: str, /, **labels: str) -> float:
        ((_, value),) = self.all(name, **labels)
        return value


class Scraper:
    def __init__(self, address: Address) -> None:
        self._client = httpx.AsyncClient(base_url=f"http://{address}", timeout=120)

    async def metrics(self) -> Scrape:
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        return Scrape((await self._client.get("/metrics", headers=accept)).raise_for_status().text)

    async def status(self, path: str) -> tuple[int, dict]:
        answer = await self._client.get(path)
        return answer.status_code, json.loads(answer.text)

    async def until(self, name: str, least: float, /, **labels: str) -> Scrape:
        async with asyncio.timeout(60):
            while True:
                found = await self.metrics()
                if sum(value for _, value in found.all(name, **labels)) >= least:
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def watched(party: Party) -> AsyncIterator[Scraper]:
    bound = bind(Address("127.0.0.1", 0))
    scraper = Scraper(address_of(bound))
    watch = Watch(lambda: party.reconciler, party.clock, "1.2.3", fresh_s=0.0)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(watch.serve(bound))
        yield scraper
        serving.cancel()


async def test_metrics_say_what_happened(lab, served, tmp_path: Path) -> None:
    lab.faults.add("rpc:Async.VM.snapshot", FailCall("SR_BACKEND_FAILURE_44", ("", "no space", "")))
    async with running(served, tmp_path, ["cellar"]) as party, watched(party) as scraper:
        failed = await scraper.until("action_total", 1, kind="snapshot", result="Failed")
        ((labels, count),) = failed.all("action_total", result="Failed")
        assert (labels["reason"], count) == ("InsufficientSpace", 1)
        assert failed.value("chain_length") == 0, "seen, and nothing there"
        assert failed.value("job_vms", state="Due") == 1
        assert failed.all("vm_last_success_timestamp_seconds") == []

        party.clock.step(timedelta(minutes=5))
        await party.until(lambda report: with_point(report) == {"cellar"})
        done = await scraper.until("run_total", 1, result="Succeeded")
        (point,) = (tmp_path / "cellar" / "xo-vm-backups").glob("*/*.json")
        taken_at = instant_of(Stamp(point.stem))
        assert done.value("vm_last_success_timestamp_seconds") == taken_at.timestamp()
        now = party.clock.now()
        exposure = done.value("vm_rpo_exposure_seconds", vm_name="web")
        assert abs(exposure - (now - taken_at).total_seconds()) < 1
        assert done.value("vm_rpo_met") == done.value("chain_length") == 1
        assert done.value("restore_points", remote="cellar", health="Whole") == 1

        assert done.value("action_total", kind="export", result="Succeeded") == 1
        assert done.value("action_total", kind="snapshot", result="Failed") == 1
        assert done.value("full_fallback_total", reason="FirstBackup") == 2, "two disks"
        sent = sum(one.moved_bytes for one in lab.transfers.all if one.kind == EXPORT)
        counted = done.value("transfer_bytes_total", direction="backup", remote="cellar")
        assert counted == sent
        size = done.value("remote_size_bytes", remote="cellar")
        assert 0 < done.value("remote_free_bytes", remote="cellar") < size

        assert await scraper.status("/healthz") == (
            200,
            {"ok": True, "checks": [{"name": "loop", "ok": True, "why": ""}]},
        )
        status, body = await scraper.status("/readyz")
        assert (status, {each["name"] for each in body["checks"]}) == (
            200,
            {"manifests", "pool lab", "remote cellar"},
        )

        (tmp_path / "cellar").rename(tmp_path / "gone")
        party.clock.step(timedelta(days=1))
        down = await scraper.until("resource_condition", 1, name="cellar", status="False")
        assert down.value("remote_up", remote="cellar") == 0
        assert down.all("restore_points") == [], "not seen is not nothing"
        assert (await scraper.status("/readyz"))[0] == 200


async def test_what_is_under_way_says_how_far_it_is(lab, served, tmp_path: Path) -> None:
    lab.pool.settings.bandwidth_bytes_per_s = 64 * 1024
    async with running(served, tmp_path, ["cellar"]) as party, watched(party) as scraper:
        labels = {"direction": "backup", "remote": "cellar"}
        begun = await scraper.until("transfer_progress_ratio", 0.01, **labels)
        assert begun.value("transfer_progress_ratio", **labels) < 1
        assert begun.value("prune_blocked_total", reason="MassDeletionBlocked") == 0
        lab.pool.settings.bandwidth_bytes_per_s = 0
        await party.until(lambda report: with_point(report) == {"cellar"})
        done = await scraper.until("action_total", 1, kind="export", result="Succeeded")
        assert done.all("transfer_progress_ratio") == []


async def test_what_the_garbage_collector_has_before_it_is_seen(
    lab, served, tmp_path: Path
) -> None:
    lab.pool.settings.coalesce = False
    (vm,) = lab.call("VM.get_by_name_label", "web")
    snapshots = []
    for byte in (b"1", b"2"):
        lab.write_disk("web", 0, 0, byte * 512)
        snapshots.append(lab.call("VM.snapshot", vm, "by hand"))
    async with running(served, tmp_path, ["cellar"]) as party, watched(party) as scraper:
        await party.until(lambda report: with_point(report) == {"cellar"})
        before = sum(value for _, value in (await scraper.metrics()).all("sr_coalesce_backlog"))
        # What only the first one stood on now carries nothing but what the second one stands on.
        (disk,) = (
            vbd
            for vbd in lab.call("VM.get_VBDs", snapshots[0])
            if lab.call("VBD.get_userdevice", vbd) == "0"
        )
        lab.call("VDI.destroy", lab.call("VBD.get_VDI", disk))
        await scraper.until("sr_coalesce_backlog", before + 1)
