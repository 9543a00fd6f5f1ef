"""From kubectl apply to restore points, as a user of kubectl sees it, against the lab."""

import asyncio
import re
from datetime import timedelta

import pytest
from kube_estate import JOB, VERIFIED, Estate, credentials_of, until, working

from reconciler.ids import Stamp, instant_of
from reconciler.kube import secrets
from reconciler.observers import pools


async def test_from_apply_to_a_restore_point_and_back(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = credentials_of(estate.kubectl, monkeypatch)
    async with working(credentials, estate.namespace.name, estate.root):
        await asyncio.to_thread(estate.kubectl.apply, estate.places + VERIFIED)
        await asyncio.to_thread(estate.wait, "condition=Ready", "bj/nightly")
        protected = "jsonpath={.status.protectedVMs.summary}=1/1"
        await asyncio.to_thread(estate.wait, protected, "bj/nightly")
        await asyncio.to_thread(estate.wait, "condition=ProofFresh", "bj/nightly")
        for other in ("xpool/lab", "bremote/cellar"):
            await asyncio.to_thread(estate.wait, "condition=Ready", other)
        (point,) = estate.points
        await until(lambda: estate.stands("bremote", "cellar").get("pointCount") == 1)
        await until(lambda: re.fullmatch(r"\d+[sm]", estate.cell("pvm", "PROVEN")))
        await until(lambda: "RunSucceeded" in estate.kubectl("get", "events"))
    header, row = estate.kubectl("get", "bj").splitlines()
    assert header.split()[:3] == ["NAME", "READY", "STATUS"]
    assert "1/1 VMs protected on 1 remote" in row
    assert estate.proven == [point]
    assert estate.cell("bj", "PROOFS") == "1/1"
    for kind in ("xpool", "bremote", "bj"):
        (raw,) = estate.kubectl.json("get", kind)["items"]
        assert raw["status"]["observedGeneration"] == raw["metadata"]["generation"] == 1
        assert "finalizers" not in raw["metadata"]
        assert "ownerReferences" not in raw["metadata"]
        assert list(raw["metadata"]["annotations"]) == [
            "kubectl.kubernetes.io/last-applied-configuration"
        ]
    reasons = [each["reason"] for each in estate.kubectl.json("get", "events")["items"]]
    assert {"InSync", "RunSucceeded"} <= set(reasons)

    assert await asyncio.to_thread(estate.is_restored_from, point)


async def test_at_rest_nothing_is_written_whatever_others_apply(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not by a second operator that starts: what is written is what it would write."""
    credentials = credentials_of(estate.kubectl, monkeypatch)
    flux = ("--server-side", "--field-manager=flux")
    tags = iter(range(100))

    def disturb() -> None:
        vm = estate.lab.call("VM.get_by_name_label", "web")[0]
        estate.lab.call("VM.add_tags", vm, f"tag-{next(tags)}")

    def apply() -> None:
        estate.kubectl.apply(estate.places + VERIFIED, *flux)

    for start in ("first", "again"):
        async with working(credentials, estate.namespace.name, estate.root) as at_work:
            if start == "first":
                await asyncio.to_thread(apply)
            protected = "jsonpath={.status.protectedVMs.summary}=1/1"
            await asyncio.to_thread(estate.wait, protected, "bj/nightly")
            await asyncio.to_thread(estate.wait, "condition=ProofFresh", "bj/nightly")
            await until(lambda: estate.stands("bremote", "cellar").get("pointCount") == 1)
            await at_work.rest(disturb)
            writes, versions = at_work.writes, await asyncio.to_thread(estate.versions)
            if start == "again":
                assert writes == 0
            stands = await asyncio.to_thread(estate.stands, "bj", "nightly")
            assert stands["lastRun"]["state"] == "Succeeded"
            for _ in range(3):
                await asyncio.to_thread(apply)
                await at_work.ticks(1, disturb)
            assert at_work.writes == writes
            assert await asyncio.to_thread(estate.versions) == versions
    managed = estate.kubectl.json("get", "bj", "nightly", "--show-managed-fields")["metadata"]
    owners = {(each["manager"], each.get("subresource")) for each in managed["managedFields"]}
    assert owners == {("flux", None), ("reconciler", "status")}


async def test_mistakes_are_told_and_mended(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the schema lets pass is told in status; the version before stays in force."""
    credentials = credentials_of(estate.kubectl, monkeypatch)
    async with working(credentials, estate.namespace.name, estate.root) as at_work:
        await asyncio.to_thread(estate.kubectl.apply, estate.places + JOB)
        await asyncio.to_thread(estate.wait, "condition=Ready", "bj/nightly")
        await until(lambda: len(estate.points) == 1)
        wrong = JOB.replace("0 2 1 1 *", "0 2 30 2 *")
        await asyncio.to_thread(estate.kubectl.apply, wrong)
        await asyncio.to_thread(estate.wait, "condition=Stalled", "bj/nightly")
        stands = await asyncio.to_thread(estate.stands, "bj", "nightly")
        assert stands["conditions"]["Ready"]["status"] == "False"
        assert stands["conditions"]["Stalled"]["reason"] == "InvalidSpec"
        assert "spec.schedules[0].cron" in stands["conditions"]["Stalled"]["message"]
        assert stands["observedGeneration"] == 2
        assert set(at_work.operator.desired.value.jobs) == {f"{estate.namespace.name}/nightly"}
        await asyncio.to_thread(estate.kubectl.apply, JOB)
        await asyncio.to_thread(estate.wait, "condition=Ready", "bj/nightly")
        stands = await asyncio.to_thread(estate.stands, "bj", "nightly")
        assert "Stalled" not in stands["conditions"]
        warnings = estate.kubectl.json("get", "events", "--field-selector=type=Warning")["items"]
        assert "InvalidSpec" in {each["reason"] for each in warnings}


async def test_requests_are_answered_once_and_a_deleted_job_loses_nothing(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = credentials_of(estate.kubectl, monkeypatch)
    async with working(credentials, estate.namespace.name, estate.root) as at_work:
        await asyncio.to_thread(estate.kubectl.apply, estate.places + JOB)
        first = await until(lambda: estate.points)
        annotation = "backup.reconciler.io/run-at"
        # Points are named to the second: one of this second would answer for it already.
        now = (instant_of(Stamp(first[0])) + timedelta(seconds=1)).isoformat()
        asked = JOB.replace(
            "{name: nightly}", f'{{name: nightly, annotations: {{{annotation}: "{now}"}}}}'
        )
        await asyncio.to_thread(estate.kubectl.apply, asked)
        both = await until(lambda: len(estate.points) == 2 and estate.points)
        assert both[0] == first[0]
        handled = f"jsonpath={{.status.lastHandledRunAt}}={now}"
        await asyncio.to_thread(estate.wait, handled, "bj/nightly")

        await asyncio.to_thread(estate.kubectl, "delete", "bj", "nightly")
        await until(lambda: not at_work.operator.desired.value.jobs)
        tokens = iter("ab")

        def look_again() -> None:
            wish = f"backup.reconciler.io/reconcile={next(tokens)}"
            estate.kubectl("annotate", "--overwrite", "bremote/cellar", wish)

        await at_work.ticks(2, look_again)
        assert estate.points == both

        await asyncio.to_thread(estate.kubectl.apply, asked)
        protected = "jsonpath={.status.protectedVMs.summary}=1/1"
        await asyncio.to_thread(estate.wait, protected, "bj/nightly")
        stands = await asyncio.to_thread(estate.stands, "bj", "nightly")
        assert stands["conditions"]["ChainsHealthy"]["message"].startswith("2 points")
        assert estate.points == both


async def test_a_rotated_secret_is_taken_up_and_never_shown(
    estate: Estate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pool that refuses the password is tried again at once, not after the usual minute."""
    monkeypatch.setattr(secrets, "_READ_EVERY_S", 0.5)
    monkeypatch.setattr(pools, "_REFUSED_WAIT_S", 3600.0)
    credentials = credentials_of(estate.kubectl, monkeypatch)
    right = estate.served.password
    wrong = estate.places.replace(right, "correct-horse")
    async with working(credentials, estate.namespace.name, estate.root):
        await asyncio.to_thread(estate.kubectl.apply, wrong + JOB)
        await asyncio.to_thread(estate.wait, "condition=Stalled", "xpool/lab")
        stands = await asyncio.to_thread(estate.stands, "xpool", "lab")
        assert stands["conditions"]["Ready"]["reason"] == "CredentialsInvalid"
        await asyncio.to_thread(estate.kubectl.apply, estate.places)
        await asyncio.to_thread(estate.wait, "condition=Ready", "xpool/lab")
        await until(lambda: estate.points)
    told = estate.kubectl("get", "backup,events", "-o", "yaml") + caplog.text
    assert right not in told
    assert "correct-horse" not in told
