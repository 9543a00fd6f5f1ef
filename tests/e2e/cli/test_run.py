"""`reconciler run` as a process: what it does, how it ends, what it leaves to the next."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

AT_ONCE = "  runOnCreate: true\n"


def test_it_backs_up_shows_problems_and_ends_on_sigterm(new_world: Any) -> None:
    job = new_world.manifests / "job.yaml"
    job.write_text(new_world.job + AT_ONCE)
    with new_world.running("run", new_world.manifests) as running:
        running.until(lambda: new_world.points() == 1)
        running.says("1 VM protected")
        job.write_text(new_world.job.replace("selector", "sellector"))
        running.says('did you mean "selector"?')
        running.says("1 problem in manifests")
        job.write_text(new_world.job + AT_ONCE)
        running.says("no problems in manifests any more")
        assert running.end(signal.SIGTERM) == 0
    assert "Traceback" not in running.log()
    assert new_world.run("plan", new_world.manifests).code == 0


def test_it_tells_prometheus_how_it_stands(new_world: Any) -> None:
    words = ["--listen", "127.0.0.1:0", "--log-format", "json"]
    with new_world.running("run", new_world.manifests, *words) as running:
        running.says("0 of 1 VM protected")
        lines = [json.loads(line) for line in running.log().splitlines()]
        (address,) = [line["address"] for line in lines if line.get("event") == "listening"]
        assert httpx.get(f"http://{address}/healthz", timeout=60).json()["ok"]
        assert httpx.get(f"http://{address}/readyz", timeout=60).status_code == 200
        text = httpx.get(f"http://{address}/metrics", timeout=60).text
        assert 'reconciler_remote_up{remote="cellar"} 1' in text
        assert 'vm_name="db"' in text
        taken = new_world.run(
            "run", new_world.manifests, "--state", new_world.root / "other", "--listen", address
        )
        assert taken.code == 1
        assert "cannot listen: Address already in use" in taken.stderr


def test_an_address_that_is_none(world: Any, tmp_path: Path) -> None:
    ran = world.run("run", world.manifests, "--state", tmp_path / "state", "--listen", "here")
    assert ran.code == 64
    assert "is not HOST:PORT or PORT" in ran.stderr


def test_ctrl_c_is_130(new_world: Any) -> None:
    with new_world.running("run", new_world.manifests, ends=(130,)) as running:
        running.says("tick")
        assert running.end(signal.SIGINT) == 130
    assert "Traceback" not in running.log()


def test_only_one_works_and_others_hand_over_to_it(new_world: Any) -> None:
    with new_world.running("run", new_world.manifests) as running:
        running.says("0 of 1 VM protected")
        second = new_world.run("run", new_world.manifests)
        assert second.code == 11
        assert "in use by another reconciler" in second.stderr
        ran = new_world.run("backup", "nightly", new_world.manifests)
        assert (ran.code, len(ran.stdout.splitlines())) == (0, 1), ran.stderr
        assert "handed over to the reconciler at work" in ran.stderr
        assert new_world.points() == 1
        left = new_world.run("backup", "nightly", new_world.manifests, "--no-wait")
        assert (left.code, left.stdout) == (0, "")
        running.until(lambda: new_world.points() == 2)
        running.until(lambda: not list((new_world.root / "state" / "requests").iterdir()))
    assert list((new_world.root / "state" / "answers").iterdir()) == []
    assert new_world.run("plan", new_world.manifests).code == 0


def state_of(world: Any, run: str) -> str:
    runs = world.run("get", "runs", "-o", "json").json["items"]
    return next(each["state"] for each in runs if each["name"] == run)


@pytest.mark.slow
def test_a_killed_one_is_continued_by_the_next(new_world: Any) -> None:
    """What the killed one had locked is only believed to be left behind after a while."""
    (new_world.manifests / "job.yaml").write_text(new_world.job + AT_ONCE)
    new_world.import_vm("large", b"large disk" * 20_000_000)
    with new_world.running("run", new_world.manifests, ends=(-9,)) as running:
        running.says("subject='VM large on remote cellar'")
        running.process.kill()
    (run,) = new_world.run("get", "runs", "-o", "json").json["items"]
    assert run["state"] == "Interrupted"
    with new_world.running("run", new_world.manifests) as running:
        running.until(lambda: new_world.points() == 2, 100)
        # The point is there a moment before its export has ended and is noted.
        running.until(lambda: state_of(new_world, run["name"]) == "Succeeded", 100)
    tries = new_world.run("describe", "run", run["name"], "-o", "json").json["tries"]
    exports = [each for each in tries if (each["verb"], each["vmName"]) == ("export", "large")]
    assert [each["outcome"] for each in (exports[0], exports[-1])] == ["Interrupted", "Succeeded"]
    # Between them it may have knocked at the dead one's lock, a moment before that was void.
    assert all(each["outcomeReason"] == "ForeignWriter" for each in exports[1:-1]), exports
    assert new_world.run("plan", new_world.manifests).code == 0


def test_logs_and_progress_for_programs(new_world: Any) -> None:
    (new_world.manifests / "job.yaml").write_text(new_world.job + AT_ONCE)
    bad = new_world.manifests / "bad.yaml"
    bad.write_text("kind: [\n")
    words = ["--log-format", "json", "--progress", "json"]
    with new_world.running("run", new_world.manifests, *words) as running:
        running.until(lambda: new_world.points() == 1)
    lines = [json.loads(line) for line in running.log().splitlines()]
    events = {line.get("event") for line in lines}
    assert {"started", "manifests read", "problem in manifest", "tick", "action ended"} <= events


@pytest.mark.parametrize("place", ["/proc/nowhere", "file/state"])
def test_a_state_directory_that_cannot_be(world: Any, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    ran = world.run("run", world.manifests, "--state", tmp_path / place)
    assert ran.code == 1
    assert "cannot be written to" in ran.stderr


RESTORE = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: Restore
metadata: {name: drill}
spec:
  source: {vm: {name: large}}
  target: {poolRef: {name: lab}, name: large-drill}
"""


@pytest.mark.slow
def test_a_restore_whose_process_is_killed_is_done_by_the_next(new_world: Any) -> None:
    (new_world.manifests / "job.yaml").write_text(new_world.job + AT_ONCE)
    new_world.import_vm("large", b"large disk" * 20_000_000)
    with new_world.running("run", new_world.manifests, ends=(-9,)) as running:
        running.until(lambda: new_world.points() == 2, 100)
        (new_world.manifests / "drill.yaml").write_text(RESTORE)
        running.says("action=restore-", 100)
        running.process.kill()
    with new_world.running("run", new_world.manifests) as running:
        running.says("vm restored", 100)
        running.until(lambda: is_complete(new_world), 100)
        # The job chooses the new VM, too: once it has its own first point, nothing is to be done.
        running.until(lambda: new_world.run("plan", new_world.manifests).code == 0, 100)
    vms = new_world.run("get", "vms", new_world.manifests, "-o", "json").json["items"]
    assert sorted(vm["name"] for vm in vms) == ["db", "large", "large-drill"]
    described = new_world.run("describe", "restore", "drill", new_world.manifests)
    assert "Complete" in described.stdout


def is_complete(world: Any) -> bool:
    (drill,) = world.run("get", "restores", world.manifests, "-o", "json").json["items"]
    said = {each["type"]: each["status"] for each in drill["conditions"]}
    return said["Complete"] == "True"
