"""Replicas as clients that others wrote see them: npm's `xen-api` and PyPI's `XenAPI`."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import XenAPI

from reconciler.ids import JobId
from reconciler.observed.replica_marks import BLOCKED

JOB = JobId("33333333-3333-4333-8333-333333333333")
CLIENT = Path(__file__).parents[2] / "conformance" / "xapi-js"
SIZE = 16 << 20


async def replicated_twice(west):
    await west.replicate()
    west.write()
    await west.replicate()
    return list(west.contents)


def seen_by_js(west) -> dict:
    served = west.served
    wish = {"url": served.url, "user": served.user, "password": served.password}
    done = subprocess.run(
        ["node", "replicas.mjs", json.dumps({**wish, "job": JOB, "vm": west.vm})],
        cwd=CLIENT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENT / "node_modules").is_dir(),
    reason="needs node and `npm ci` in tests/conformance/xapi-js (make tools)",
)
async def test_xen_api_finds_and_starts_them(west):
    stamps = await replicated_twice(west)
    facts = await asyncio.to_thread(seen_by_js, west)
    (replica,) = {point.replica for point in await west.points()}
    assert [point["of"] for point in facts["points"]] == [replica, replica]
    found = [point["datetime"].replace(":", "") for point in facts["points"]]
    assert found == stamps
    assert all(
        point["name"].endswith(stamp) for point, stamp in zip(facts["points"], stamps, strict=True)
    )
    wanted = sorted(disk.source for point in await west.points() for disk in point.disks)
    assert sorted(facts["sources"]) == sorted(facts["contents"]) == wanted
    (live,) = facts["live"]
    assert (live["name"], live["marked"]) == ("web - nightly", False)
    assert "Continuous Replication" in live["tags"]
    assert facts["start"] == [["OPERATION_BLOCKED", BLOCKED]]
    assert facts["drill"] == "Running"
    assert west.target_lab.read_disk("drill", 0, 0, SIZE) in west.contents[stamps[-1]].values()
    await west.assert_points_are_right()


def seen_by_python(west) -> list[str]:
    session = XenAPI.Session(west.served.url, ignore_ssl=True)
    session.xenapi.login_with_password(west.served.user, west.served.password, "1.0", "test")
    try:
        api, found = session.xenapi, []
        for ref, vm in api.VM.get_all_records().items():
            if not vm["is_a_snapshot"] or vm["other_config"].get("xo:backup:job") != JOB:
                continue
            found.append(vm["other_config"]["xo:backup:datetime"].replace(":", ""))
            with pytest.raises(XenAPI.Failure, match="OPERATION_BLOCKED"):
                api.VM.start(vm["snapshot_of"], False, False)
            clone = api.VM.clone(ref, f"drill {len(found)}")
            api.VM.start(clone, False, False)
            assert api.VM.get_power_state(clone) == "Running"
        return sorted(found)
    finally:
        session.xenapi.session.logout()
        session("close")()


async def test_the_python_client_finds_and_starts_each_point(west):
    stamps = await replicated_twice(west)
    assert await asyncio.to_thread(seen_by_python, west) == stamps
    for number in (1, 2):
        content = west.target_lab.read_disk(f"drill {number}", 0, 0, SIZE)
        assert any(content in disks.values() for disks in west.contents.values())
    await west.assert_points_are_right()
