"""The operator's own objects: kept as reports say, whatever others do to them, and left at rest."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from scenes import Scene, job, wanting
from virtual_time import on_virtual_time

from reconciler.clock import SteppedClock
from reconciler.kube import protected
from reconciler.kube.api import Listing
from reconciler.kube.errors import Busy, Conflict, Missing
from reconciler.kube.protected import ProtectedObjects
from reconciler.kube.resources import Resource
from reconciler.latest import Latest
from reconciler.status.report import Report

NOW = datetime(2026, 8, 21, 1, tzinfo=UTC)
VMS = ("db", "mail", "web")
TEN_MINUTES = 660.0
A_ROUND = 12.0


class Server:
    """Objects of one kind as an API server keeps them; `calls` counts what it was asked."""

    def __init__(self) -> None:
        self.raws: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.is_away = False
        self._version = 0

    def put(self, name: str, **parts: Any) -> dict[str, Any]:
        known = self.raws.get(name, {"metadata": {"uid": f"uid-{self._version}"}})
        self._version += 1
        metadata = {
            **known["metadata"],
            "name": name,
            "namespace": "default",
            "generation": 1,
            "resourceVersion": str(self._version),
        }
        self.raws[name] = {**known, "kind": "ProtectedVM", **parts, "metadata": metadata}
        return self.raws[name]

    def _called(self, verb: str, name: str | None = None) -> dict[str, Any]:
        self.calls[verb] += 1
        if self.is_away:
            raise Busy("not now", status=503)
        if name is None:
            return {}
        if name not in self.raws:
            raise Missing(name)
        return self.raws[name]

    async def list(
        self, _: Resource, _namespace: str | None, *, hold: Callable[[Any], Mapping[str, Any]]
    ) -> Listing:
        self._called("list")
        return Listing(tuple(map(hold, self.raws.values())), str(self._version))

    async def get(self, _: Resource, _namespace: str, name: str) -> dict[str, Any]:
        return self._called("get", name)

    async def create(self, _: Resource, _namespace: str, body: Any) -> dict[str, Any]:
        self._called("create")
        name = body["metadata"]["name"]
        if name in self.raws:
            raise Conflict(name)
        return self.put(name, spec=body["spec"])

    async def merge(
        self, _: Resource, _namespace: str, name: str, body: Any, *, subresource: str
    ) -> dict[str, Any]:
        assert subresource == "status"
        raw = self._called("merge", name)
        if raw["metadata"]["uid"] != body["metadata"]["uid"]:
            raise Conflict(name)
        return self.put(name, status={**raw.get("status", {}), **body["status"]})

    async def delete(self, _: Resource, _namespace: str, name: str) -> None:
        self._called("delete", name)
        del self.raws[name]

    @property
    def states(self) -> dict[str, str]:
        """The state of each VM, by its name."""
        said = [raw.get("status", {}) for raw in self.raws.values()]
        return {each.get("vmName", "?"): each.get("state", "?") for each in said}

    @property
    def writes(self) -> int:
        return sum(self.calls[verb] for verb in ("create", "merge", "delete"))


def report(*vms: str, suspend: bool = False) -> Report:
    named = ", ".join(f"{vm}: {{}}" for vm in vms)
    text = (
        f"now: 2026-08-21 01:00:00\npools: {{east: {{vms: {{{named}}}}}}}\nremotes: {{nas: {{}}}}"
    )
    found = Scene(wanting(job(suspend=suspend)), text)
    return Report(found.desired, found.observed, found.plan, found.now)


@asynccontextmanager
async def keeping(
    server: Server, said: Report, turn: asyncio.Event | None = None
) -> AsyncIterator[Latest[Report | None]]:
    mailbox: Latest[Report | None] = Latest(said)
    if turn is None:
        turn = asyncio.Event()
        turn.set()
    clock = SteppedClock(NOW)
    objects = ProtectedObjects(server, (), mailbox, turn, clock)  # type: ignore[arg-type]
    task = asyncio.ensure_future(objects.run())
    try:
        yield mailbox
    finally:
        task.cancel()


@pytest.fixture(autouse=True)
def on_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A jumping clock waits for no thread."""

    async def here(work: Callable[[], Any]) -> Any:
        return work()

    monkeypatch.setattr(protected.asyncio, "to_thread", here)


@on_virtual_time
async def test_each_vm_of_a_job_has_one_that_says_how_it_stands() -> None:
    server = Server()
    async with keeping(server, report(*VMS)):
        await asyncio.sleep(A_ROUND)
        assert server.states == dict.fromkeys(VMS, "New")


@on_virtual_time
async def test_objects_of_people_come_first() -> None:
    server, turn = Server(), asyncio.Event()
    async with keeping(server, report(*VMS), turn):
        await asyncio.sleep(60)
        assert server.writes == 0
        turn.set()
        await asyncio.sleep(A_ROUND)
        assert server.states == dict.fromkeys(VMS, "New")


@on_virtual_time
async def test_at_rest_nothing_is_written_and_lists_are_few() -> None:
    server = Server()
    async with keeping(server, report(*VMS)) as mailbox:
        await asyncio.sleep(A_ROUND)
        writes, lists = server.writes, server.calls["list"]
        for _ in range(100):
            known = mailbox.value
            assert known is not None
            mailbox.put(known.renewed(known.observed, known.at))
            await asyncio.sleep(60)
        assert server.writes == writes
        assert server.calls["list"] - lists <= 600


@on_virtual_time
async def test_more_of_them_than_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protected, "WRITES_MAX", 2)
    vms = [f"vm-{number}" for number in range(7)]
    server = Server()
    async with keeping(server, report(*vms)) as mailbox:
        await asyncio.sleep(0.1)
        assert 0 < len(server.raws) < 7
        mailbox.put(report(*vms, suspend=True))  # overtakes what was begun
        await asyncio.sleep(60)
        assert server.states == dict.fromkeys(vms, "Suspended")


@on_virtual_time
async def test_what_is_not_wanted_any_more_is_removed_once() -> None:
    server = Server()
    async with keeping(server, report(*VMS)) as mailbox:
        await asyncio.sleep(A_ROUND)
        mailbox.put(report("web"))
        await asyncio.sleep(A_ROUND)
        assert server.states == {"web": "New"}
        assert server.calls["delete"] == 2


@on_virtual_time
async def test_what_others_do_to_them_is_undone() -> None:
    server = Server()
    async with keeping(server, report(*VMS)):
        await asyncio.sleep(A_ROUND)
        removed, changed, _ = list(server.raws)
        del server.raws[removed]
        server.put(changed, status={"state": "Protected"})
        stranger = "nightly-00000000-0000-0000-0000-000000000000"
        server.put(stranger, spec={"jobRef": {"name": "nightly"}, "vm": stranger})
        await asyncio.sleep(TEN_MINUTES)
        assert server.states == dict.fromkeys(VMS, "New")


@on_virtual_time
async def test_one_that_went_or_was_made_anew_is_told_all_the_same() -> None:
    server = Server()
    async with keeping(server, report(*VMS)) as mailbox:
        await asyncio.sleep(A_ROUND)
        removed, replaced, _ = list(server.raws)
        del server.raws[removed]
        spec = server.raws.pop(replaced)["spec"]
        server.put(replaced, spec=spec)
        mailbox.put(report(*VMS, suspend=True))
        await asyncio.sleep(2 * A_ROUND)
        assert server.states == dict.fromkeys(VMS, "Suspended")


@on_virtual_time
async def test_those_that_are_there_are_found_before_any_is_made() -> None:
    server = Server()
    async with keeping(server, report(*VMS)):
        await asyncio.sleep(A_ROUND)
    writes = server.writes
    async with keeping(server, report(*VMS)):
        await asyncio.sleep(A_ROUND)
    assert server.writes == writes


@on_virtual_time
async def test_a_server_that_is_away_is_waited_for() -> None:
    server = Server()
    server.is_away = True
    async with keeping(server, report(*VMS)):
        await asyncio.sleep(60)
        assert server.writes == 0
        server.is_away = False
        await asyncio.sleep(60)
        assert server.states == dict.fromkeys(VMS, "New")


@on_virtual_time
async def test_what_is_not_seen_keeps_its_objects() -> None:
    server = Server()
    said = report(*VMS)
    async with keeping(server, said) as mailbox:
        await asyncio.sleep(A_ROUND)
        blind = replace(said, observed=replace(said.observed, pools={}))
        mailbox.put(blind)
        await asyncio.sleep(A_ROUND)
        assert len(server.raws) == 3
