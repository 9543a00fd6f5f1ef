"""Parties carried out by Jobs: a whole reconciler on the lab, and pods that live and die.

The API server here is a table that keeps to its rules; tests/kube has the real one.
"""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from party import MIB, NOW, contents_of, failures, running, vm_of, with_point

from reconciler.clock import SteppedClock
from reconciler.kube import jobs, worker
from reconciler.kube.errors import Conflict, Missing, Unreachable
from reconciler.kube.job_body import JOBS, WorkerTemplate
from reconciler.kube.job_notes import GIVEN_UP, endings_of, note_of
from reconciler.kube.jobs import JobHands
from reconciler.kube.worker import Worker
from reconciler.plan.reasons import Reason

TEMPLATE = WorkerTemplate({"spec": {"containers": [{"name": "worker", "image": "reconciler"}]}})


class Cluster:
    """Jobs by name, and the pods that carry them out."""

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.jobs: dict[str, dict] = {}
        self.made: list[str] = []
        self.pods: dict[str, asyncio.Task] = {}
        self.is_up = True
        self.refused = 0
        self._numbers = itertools.count(1)

    def _reach(self) -> None:
        if not self.is_up:
            self.refused += 1
            raise Unreachable("no answer")

    async def list(self, resource, namespace, *, selector=""):
        self._reach()
        return Listing([copy.deepcopy(each) for each in self.jobs.values()])

    async def get(self, resource, namespace, name):
        self._reach()
        if resource != JOBS or name not in self.jobs:
            raise Missing(f"{name} is not there", status=404)
        return copy.deepcopy(self.jobs[name])

    async def create(self, resource, namespace, body):
        self._reach()
        name = body["metadata"]["name"]
        if name in self.jobs:
            raise Conflict(f"{name} is there", status=409)
        number = str(next(self._numbers))
        self.jobs[name] = {**body, "metadata": {**body["metadata"], "uid": f"uid-{number}"}}
        self.made.append(name)
        self.pods[name] = asyncio.ensure_future(self._pod(name))
        return copy.deepcopy(self.jobs[name])

    async def merge(self, resource, namespace, name, body, *, subresource=""):
        await self.get(resource, namespace, name)
        self.jobs[name]["metadata"].setdefault("annotations", {}).update(
            body["metadata"]["annotations"]
        )
        return copy.deepcopy(self.jobs[name])

    async def delete(self, resource, namespace, name):
        await self.get(resource, namespace, name)
        del self.jobs[name]
        if name in self.pods:
            self.pods[name].cancel()  # as SIGTERM does

    # ── pods ──

    async def _pod(self, name: str) -> None:
        line = Line(self)
        pod = asyncio.current_task()
        pod.line = line
        condition = "Failed"
        try:
            if await Worker(line, "backups", name, self.clock).run():
                condition = "Complete"
        finally:
            if name in self.jobs:
                self.jobs[name]["status"] = {
                    "conditions": [{"type": condition, "status": "True", "reason": "PodEnded"}]
                }

    async def kill_pod(self, name: str) -> None:
        """At once, without a last word."""
        pod = self.pods[name]
        pod.line.is_cut = True
        pod.cancel()
        await asyncio.wait({pod})

    async def end(self) -> None:
        for name in self.pods:
            await self.kill_pod(name)


class Listing:
    def __init__(self, items):
        self.items = items


class Line:
    """A pod's way to the API server."""

    def __init__(self, cluster: Cluster) -> None:
        self.is_cut = False
        self._cluster = cluster

    async def get(self, *args):
        self._check()
        return await self._cluster.get(*args)

    async def merge(self, *args):
        self._check()
        return await self._cluster.merge(*args)

    def _check(self):
        if self.is_cut:
            raise Missing("cut off", status=404)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """What is looked at every two seconds is looked at often."""
    monkeypatch.setattr(jobs, "_LOOK_S", 0.05)
    monkeypatch.setattr(worker, "_NOTE_S", 0.05)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster(SteppedClock(NOW))
    yield made
    await made.end()


def operating(cluster: Cluster, served, directory: Path, names=("attic", "barn")):
    return running(
        served,
        directory,
        names,
        cluster.clock,
        hands=lambda own: JobHands(own, cluster, TEMPLATE, "backups"),
    )


async def until(seen: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not seen():  # noqa: ASYNC110 (a table rings no bell)
            await asyncio.sleep(0.02)


def give_up(party, part) -> None:
    """What the executor does when the plan says so."""
    known = party.reconciler._executor._running[part.id]
    known.party.give_up(part.action)
    known.task.cancel()


def has_moved(party) -> bool:
    moving = [one for one in party.reconciler.transfers() if one.action.verb == "export"]
    return len(moving) == 2 and all(one.done_bytes > MIB for one in moving)


@pytest.fixture
def slow(make_lab):
    """A lab whose exports take long enough to be interrupted."""
    lab = make_lab(bandwidth_bytes_per_s=6 * MIB)
    with lab.serve() as served:
        yield lab, served


async def test_a_party_is_one_job_and_its_points_are_whole(lab, served, cluster, tmp_path) -> None:
    async with operating(cluster, served, tmp_path) as party:
        await party.until(lambda report: with_point(report) == {"attic", "barn"})
        assert len(cluster.made) == 1, "one reading for both, so one Job"
        for name in ("attic", "barn"):
            assert await party.restored(name, vm_of(lab), tmp_path) == contents_of(lab)
    (job,) = cluster.jobs.values()
    assert served.password not in str(job)


async def test_a_pod_that_is_killed_is_one_more_fault(slow, cluster, tmp_path) -> None:
    lab, served = slow
    async with operating(cluster, served, tmp_path) as party:
        await until(lambda: has_moved(party))
        await cluster.kill_pod(cluster.made[0])
        report = await party.until(lambda report: bool(failures(report)))
        assert failures(report) == {Reason.INTERRUPTED}
        cluster.clock.step(timedelta(hours=1))
        await party.until(lambda report: with_point(report) == {"attic", "barn"})
        assert await party.restored("barn", vm_of(lab), tmp_path) == contents_of(lab)
        assert len(cluster.made) >= 2


async def test_a_job_outlives_its_operator_and_the_next_one_waits_for_it(
    slow, cluster, tmp_path
) -> None:
    lab, served = slow
    async with operating(cluster, served, tmp_path) as party:
        await until(lambda: has_moved(party))
    assert not cluster.pods[cluster.made[0]].done(), "it works on without an operator"
    async with operating(cluster, served, tmp_path) as party:
        report = await party.until(lambda report: bool(report.progress.running))
        assert {id_[:6] for id_ in report.progress.running} == {"export"}
        await party.until(lambda report: with_point(report) == {"attic", "barn"})
        assert len(cluster.made) == 1, "nothing was begun twice"
        for name in ("attic", "barn"):
            assert await party.restored(name, vm_of(lab), tmp_path) == contents_of(lab)


async def test_nothing_is_begun_while_nobody_knows_what_runs(
    lab, served, cluster, tmp_path
) -> None:
    cluster.is_up = False
    async with operating(cluster, served, tmp_path) as party:
        await party.until(lambda report: bool(report.plan.actions))
        before = cluster.refused
        await until(lambda: cluster.refused > before + 2)
        assert not party.reconciler.report.value.progress.running
        assert not lab.transfers.all
        cluster.is_up = True
        await party.until(lambda report: with_point(report) == {"attic", "barn"})


async def test_a_part_that_is_given_up_is_stopped_and_the_other_goes_on(
    slow, cluster, tmp_path
) -> None:
    lab, served = slow
    async with operating(cluster, served, tmp_path) as party:
        await until(lambda: has_moved(party))
        (part,) = [one for one in party.reconciler.transfers() if one.action.remote == "attic"]
        give_up(party, part)
        job = cluster.made[0]
        await until(lambda: note_of(cluster.jobs[job], GIVEN_UP) == part.id)
        await party.until(lambda report: "barn" in with_point(report))
        assert await party.restored("barn", vm_of(lab), tmp_path) == contents_of(lab)
        assert endings_of(cluster.jobs[job])[part.id].reason is Reason.CANCELLED


async def test_a_job_of_which_nothing_is_wanted_is_deleted(slow, cluster, tmp_path) -> None:
    _, served = slow
    async with operating(cluster, served, tmp_path) as party:
        await until(lambda: has_moved(party))
        first = cluster.made[0]
        for part in party.reconciler.transfers():
            give_up(party, part)
        await until(lambda: first not in cluster.jobs)
        await until(cluster.pods[first].done)


async def test_a_job_that_somebody_deletes_is_made_again(slow, cluster, tmp_path) -> None:
    _, served = slow
    async with operating(cluster, served, tmp_path) as party:
        await until(lambda: has_moved(party))
        await cluster.delete(JOBS, "backups", cluster.made[0])
        await party.until(lambda report: bool(failures(report)))
        cluster.clock.step(timedelta(hours=1))
        await party.until(lambda report: with_point(report) == {"attic", "barn"})
