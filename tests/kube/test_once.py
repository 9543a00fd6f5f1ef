"""What is asked for once, as a user of kubectl asks for it: runs, restores; and records of runs."""

import asyncio

import pytest
from kube_estate import JOB, Estate, credentials_of, until, working

ASKED = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRun
metadata: {name: before-the-upgrade}
spec: {jobRef: {name: nightly}}
"""
DRILL = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: Restore
metadata: {name: drill}
spec:
  source: {vm: {name: web}}
  target: {poolRef: {name: lab}, name: web-drill}
"""


def vms(estate: Estate) -> list[str]:
    return [name for name in ("web", "web-drill") if estate.lab.call("VM.get_by_name_label", name)]


async def test_a_run_that_is_asked_for_is_its_own_record(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = credentials_of(estate.kubectl, monkeypatch)

    def names() -> list[str]:
        return [each["metadata"]["name"] for each in estate.kubectl.json("get", "br")["items"]]

    async with working(credentials, estate.namespace.name, estate.root):
        await asyncio.to_thread(estate.kubectl.apply, estate.places + JOB)
        (record,) = await until(names)
        assert record.startswith("nightly-2")
        await asyncio.to_thread(estate.wait, "condition=Complete", f"br/{record}")
        said = estate.stands("br", record)
        assert (said["state"], said["vms"]["summary"]) == ("Succeeded", "1/1")
        outcomes = {each["action"]: each["outcome"] for each in said["results"]}
        assert outcomes == {"snapshot": "Succeeded", "export": "Succeeded"}
        assert len(estate.points) == 1

        # Points are named to the second: one of this second would answer for it already.
        await until(lambda: estate.kubectl.json("get", "br", record)["status"]["completionTime"])
        await asyncio.sleep(1)
        await asyncio.to_thread(estate.kubectl.apply, ASKED)
        await asyncio.to_thread(estate.wait, "condition=Complete", "br/before-the-upgrade")
        assert len(estate.points) == 2
        assert sorted(await asyncio.to_thread(names)) == ["before-the-upgrade", record]
        raw = estate.kubectl.json("get", "br", "before-the-upgrade")
        assert raw["spec"] == {
            "cancel": False,
            "jobRef": {"name": "nightly"},
            "trigger": "Requested",
        }
        assert not {"finalizers", "ownerReferences"} & raw["metadata"].keys()
        changed = ASKED.replace("{name: nightly}}", "{name: weekly}}")
        refused = estate.kubectl.refused("apply", "-f", "-", stdin=changed)
        assert "a run is not changed, but for cancel" in refused
        await protected_vm_is_kept(estate)
    header = estate.kubectl("get", "br").splitlines()[0].split()
    assert header[:5] == ["NAME", "READY", "STATUS", "JOB", "STATE"]


async def protected_vm_is_kept(estate: Estate) -> None:
    """It says what is, is made again if somebody removes it, and goes with its job."""
    uuid = estate.lab.call("VM.get_uuid", web(estate))
    pvm = f"nightly-{uuid}"
    stamp = estate.points[-1]
    newest = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:15]}Z"
    await asyncio.to_thread(
        estate.wait, f"jsonpath={{.status.lastSuccessTime}}={newest}", f"pvm/{pvm}"
    )
    await asyncio.to_thread(estate.wait, "condition=Ready", f"pvm/{pvm}")
    said = estate.stands("pvm", pvm)
    assert (said["vmName"], said["state"], said["pointCount"]) == ("web", "Protected", 2)
    (chain,) = said["chains"]
    assert (chain["points"], chain["length"], chain["state"]) == (2, 2, "Ok")
    assert said["reference"]["stamp"] == stamp
    assert not said.get("blockedBy")
    await asyncio.to_thread(estate.kubectl, "delete", "pvm", pvm)
    await asyncio.to_thread(estate.kubectl, "wait", "--for=create", f"pvm/{pvm}", "--timeout=120s")
    await asyncio.to_thread(estate.kubectl, "delete", "bj", "nightly")
    await asyncio.to_thread(estate.kubectl, "wait", "--for=delete", f"pvm/{pvm}", "--timeout=120s")
    assert len(estate.points) == 2


async def test_a_restore_is_done_once_for_each_object(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = credentials_of(estate.kubectl, monkeypatch)
    async with working(credentials, estate.namespace.name, estate.root) as at_work:
        await asyncio.to_thread(estate.kubectl.apply, estate.places + JOB)
        await until(lambda: estate.points)
        await asyncio.to_thread(estate.kubectl.apply, DRILL)
        await asyncio.to_thread(estate.wait, "condition=Complete", "rst/drill")
        assert estate.lab.read_disk("web-drill", 0, 0, len(estate.content)) == estate.content
        said = estate.stands("rst", "drill")
        assert said["resolvedPoint"]["stamp"] == estate.points[0]
        (drill,) = estate.lab.call("VM.get_by_name_label", "web-drill")
        assert said["restoredVM"]["uuid"] == estate.lab.call("VM.get_uuid", drill)

        estate.lab.call("VM.destroy", drill)
        await asyncio.to_thread(estate.kubectl.apply, DRILL)
        await at_work.ticks(2, lambda: estate.lab.call("VM.add_tags", web(estate), "x"))
        assert vms(estate) == ["web"]
        assert estate.stands("rst", "drill")["conditions"]["Complete"]["status"] == "True"

        await asyncio.to_thread(estate.kubectl, "delete", "rst", "drill")
        await asyncio.to_thread(estate.kubectl.apply, DRILL)
        await until(lambda: vms(estate) == ["web", "web-drill"])
        await asyncio.to_thread(estate.wait, "condition=Complete", "rst/drill")


def web(estate: Estate) -> str:
    (vm,) = estate.lab.call("VM.get_by_name_label", "web")
    return str(vm)
