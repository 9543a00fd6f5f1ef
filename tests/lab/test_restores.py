"""Restores that manifests ask for, by a whole reconciler on the lab: once, whole, and never again.

What interrupted ones leave is made by keeping a failing step from tidying up after itself, which is
what a kill does; the process that is really killed is in tests/e2e.
"""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.assembly import Reconciler
from reconciler.clock import SteppedClock
from reconciler.desired.resolve import resolve
from reconciler.executor.steps import restore_vm
from reconciler.ids import PoolName, RestoreName
from reconciler.lab.faults import FailCall
from reconciler.latest import Latest
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.plan.actions import Action
from reconciler.plan.restore_actions import CleanRestore, RestoreVm
from reconciler.sources.documents import parse_file
from reconciler.status.report import Report

MIB = 1 << 20
PATIENCE_S = 120.0
IMPATIENT_S = 0.5
"""After which waiting for the next try is cut short by the clock."""
PLACES = """
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec: {{urls: ["{url}"], username: {user}, passwordFrom: {{env: LAB_PASSWORD}}}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cellar}}
spec: {{local: {{path: "{remote}"}}}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata:
  name: nightly
  annotations: {{backup.reconciler.io/run-at: "{run_at}"}}
spec:
  poolRefs: [{{name: lab}}]
  selector: {{names: [web]}}
  mode: {mode}
  targets: [{{remoteRef: {{name: cellar}}}}]
  schedules: [{{name: never, cron: "0 0 31 12 *"}}]
"""
DRILL = """
---
apiVersion: backup.reconciler.io/v1alpha1
kind: Restore
metadata: {name: drill}
spec:
  source: {vm: {name: web}}
  target: {poolRef: {name: lab}, name: web-drill, MORE}
"""


class Place:
    """A lab, a remote's directory, and the manifests, as they are now."""

    def __init__(self, lab, served, client, remote: Path, mode: str) -> None:
        self.lab = lab
        self.client = client
        self._settings = {"url": served.url, "user": served.user, "remote": remote, "mode": mode}
        self.desired = Latest(self.resolved(""))
        self.reconciler: Reconciler | None = None
        self.clock = SteppedClock(datetime.now(UTC))
        self._reveal = lambda _: served.password

    def resolved(self, more: str):
        run_at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
        text = PLACES.format(run_at=run_at, **self._settings) + more
        desired = resolve([parse_file("a.yaml", text.encode())]).desired
        assert desired.problems == ()
        return desired

    def want(self, more: str) -> None:
        self.desired.put(self.resolved(more))

    def backup_again(self) -> None:
        # The pool's own clock, which dates the point that there is, runs while this one stands.
        self.clock.step(timedelta(minutes=5))
        now = self.clock.now().isoformat()
        text = PLACES.format(run_at=now, **self._settings) + DRILL.replace(", MORE", "")
        self.desired.put(resolve([parse_file("a.yaml", text.encode())]).desired)

    @asynccontextmanager
    async def at_work(self):
        """A reconciler that works on it, for as long as this lasts."""
        self.reconciler = Reconciler(self.desired, self.clock, self._reveal)
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self.reconciler.run())
            yield
            work.cancel()

    async def until(self, condition: Callable[[Report, PoolView], bool]) -> Report:
        assert self.reconciler is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IMPATIENT_S):
                        async for report in self.reconciler.report.follow():
                            view = report and report.observed.pools.get(PoolName("lab"))
                            if isinstance(view, PoolView) and condition(report, view):
                                return report
                self.clock.step(timedelta(seconds=20))

    async def names(self) -> list[str]:
        records = await self.client.call("VM.get_all_records")
        guests = [vm for vm in records.values() if not vm["is_control_domain"]]
        return sorted(
            vm["name_label"] for vm in guests if not (vm["is_a_template"] or vm["is_a_snapshot"])
        )

    async def disks(self) -> int:
        records = await self.client.call("VDI.get_all_records")
        return sum(vdi["managed"] and not vdi["is_a_snapshot"] for vdi in records.values())

    def content(self, vm: str) -> list[bytes]:
        return [self.lab.read_disk(vm, position, 0, 16 * MIB) for position in (0, 1)]


def is_backed_up(report: Report, _view: PoolView) -> bool:
    return points(report) == 1 and not report.plan.actions and not report.progress.running


def restores_in(report: Report) -> list[Action]:
    return [each for each in report.plan.actions if isinstance(each, RestoreVm | CleanRestore)]


def points(report: Report) -> int:
    views = [view for view in report.observed.remotes.values() if isinstance(view, RemoteView)]
    histories = [each for view in views for each in view.histories.values()]
    return sum(len(each.points) for each in histories if isinstance(each, History))


def is_done(report: Report, view: PoolView) -> bool:
    restore = report.desired.restores.get(RestoreName("drill"))
    record = restore and view.restores.get(restore.id)
    return bool(record and record.made) and not report.progress.running


@pytest.fixture(params=["Incremental", "Full"])
async def place(request, lab, served, client, tmp_path: Path):
    (tmp_path / "remote").mkdir()
    return Place(lab, served, client, tmp_path / "remote", request.param)


async def test_a_restore_is_done_once_and_survives_what_interrupts_it(place, monkeypatch):
    before = place.content("web")
    disks = await place.disks()
    wanted = DRILL.replace("MORE", "start: true, mac: New")
    async with place.at_work():
        await place.until(is_backed_up)
        # The first try stops where nothing is whole, the second where all is but for its name; and
        # neither tidies up after itself.
        monkeypatch.setattr(restore_vm, "_remove", untidy)
        place.lab.faults.add("rpc:VM.add_tags", FailCall("INTERNAL_ERROR"))  # an archive, imported
        place.lab.faults.add("http:PUT /import_raw_vdi", FailCall("VDI_IO_ERROR"))
        place.lab.faults.add("rpc:VM.set_name_label", FailCall("INTERNAL_ERROR"))
        place.lab.faults.add("rpc:Async.VM.start", FailCall("HOST_NOT_ENOUGH_FREE_MEMORY"))
        place.want(wanted)
        report = await place.until(is_done)
    assert await place.names() == ["web", "web-drill"], "nothing half made is left"
    assert await place.disks() == disks + 2
    assert place.content("web-drill") == before
    (drill,) = await place.client.call("VM.get_by_name_label", "web-drill")
    record = await place.client.call("VM.get_record", drill)
    assert record["power_state"] == "Running"
    assert record["blocked_operations"] == {}
    assert "restored from backup" in record["tags"]
    assert "reconciler:restoring" not in record["other_config"]
    failed = [each for each in report.progress.ended.values() if not each.succeeded]
    assert failed == []


async def untidy(_client, _made) -> None:
    return


async def test_what_is_done_is_not_done_again(place):
    async with place.at_work():
        await place.until(is_backed_up)
        place.want(DRILL.replace(", MORE", ""))
        await place.until(is_done)
        (drill,) = await place.client.call("VM.get_by_name_label", "web-drill")
        await place.client.call("VM.destroy", drill)
        place.backup_again()
        await place.until(lambda report, _: points(report) == 2)
    async with place.at_work():  # another process, which knows nothing but what it sees
        report = await place.until(
            lambda report, view: report.is_whole and is_done(report, view) and points(report) == 2
        )
        assert restores_in(report) == []
        place.want("")
        await place.until(lambda report, _: not report.desired.restores)
        place.want(DRILL.replace(", MORE", ""))
        report = await place.until(lambda report, _: bool(report.desired.restores))
        assert restores_in(report) == []
    assert await place.names() == ["web"]


async def test_interfaces_come_where_the_manifest_says(lab, served, client, tmp_path):
    (tmp_path / "remote").mkdir()
    place = Place(lab, served, client, tmp_path / "remote", "Incremental")
    common = {"name_description": "", "other_config": {}, "MTU": 1500, "tags": []}
    isolated = await client.call("network.create", {"name_label": "isolated", **common})
    async with place.at_work():
        await place.until(is_backed_up)
        place.want(DRILL.replace("MORE", 'networks: [{from: "*", to: nowhere}]'))
        await place.until(
            lambda report, _: any(
                each.reason == "NetworkUnknown" for each in report.progress.ended.values()
            )
        )
        assert await place.names() == ["web"]
        other = DRILL.replace("name: drill", "name: second")
        place.want(other.replace("MORE", 'networks: [{from: "*", to: isolated}]'))
        await place.until(lambda _, view: any(each.made for each in view.restores.values()))
    (drill,) = await client.call("VM.get_by_name_label", "web-drill")
    (copied,) = await client.call("VM.get_VIFs", drill)
    assert await client.call("VIF.get_network", copied) == isolated
