"""`reconciler backup`, where no other reconciler is at work."""

import json
from pathlib import Path
from typing import Any


def test_each_run_makes_its_points_and_tidies_up(new_world: Any) -> None:
    first = new_world.run("backup", "nightly", new_world.manifests, "--progress", "json")
    assert first.code == 0, first.stderr
    summary = json.loads(first.stdout.splitlines()[-1])
    assert summary["type"] == "summary"
    (part,) = summary["parts"]
    assert (part["state"], part["sizeBytes"] > 0) == ("Done", True)
    second = new_world.run("backup", "nightly", new_world.manifests)
    assert second.code == 0, second.stderr
    assert second.stdout.strip() != part["point"]
    assert new_world.points() == 2
    assert new_world.run("plan", new_world.manifests).code == 0


def test_a_run_of_its_own_has_a_log_as_well(new_world: Any) -> None:
    assert new_world.run("backup", "nightly", new_world.manifests).code == 0
    (name,) = new_world.run("get", "runs", "-o", "name").stdout.split()
    shown = new_world.run("logs", name)
    assert shown.code == 0, shown.stderr
    assert "action started" in shown.stdout
    assert "VM " in shown.stdout


def test_one_remote_of_two_is_a_partial_success(new_world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("reconciler.cli.settlement.UNSEEN_MAX", _nothing())
    (new_world.manifests / "second.yaml").write_text(
        "apiVersion: backup.reconciler.io/v1alpha1\n"
        "kind: BackupRemote\n"
        "metadata: {name: away}\n"
        f"spec: {{local: {{path: {new_world.root / 'unmounted'}}}}}\n"
    )
    job = new_world.job.replace("name: cellar}}]", "name: cellar}}, {remoteRef: {name: away}}]")
    (new_world.manifests / "job.yaml").write_text(job)
    ran = new_world.run("backup", "nightly", new_world.manifests)
    assert ran.code == 3
    assert "remote away: failed" in ran.stderr
    assert "is it mounted?" in ran.stderr
    assert len(ran.stdout.splitlines()) == 1


def test_an_unreachable_pool_has_its_own_code(new_world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("reconciler.cli.settlement.UNSEEN_MAX", _nothing())
    (new_world.manifests / "places.yaml").write_text(new_world.places(url="http://127.0.0.1:9"))
    ran = new_world.run("backup", "nightly", new_world.manifests)
    assert (ran.code, ran.stdout) == (14, "")


def test_waiting_has_an_end(new_world: Any) -> None:
    (new_world.manifests / "places.yaml").write_text(new_world.places(url="http://127.0.0.1:9"))
    ran = new_world.run("backup", "nightly", new_world.manifests, "--timeout", "2s")
    assert ran.code == 124
    assert "not done in time" in ran.stderr


def test_what_cannot_be_run_is_said(new_world: Any, tmp_path: Path) -> None:
    ran = new_world.run("backup", "nosuch", new_world.manifests)
    assert ran.code == 1
    assert "there are: nightly" in ran.stderr
    ran = new_world.run("backup", "nightly", new_world.manifests, "--no-wait")
    assert ran.code == 1
    assert "no reconciler is at work" in ran.stderr
    job = new_world.manifests / "job.yaml"
    job.write_text(new_world.job + "  suspend: true\n")
    assert "is suspended" in new_world.run("backup", "nightly", new_world.manifests).stderr
    job.write_text(new_world.job.replace("[prod]", "[none]"))
    ran = new_world.run("backup", "nightly", new_world.manifests)
    assert ran.code == 1
    assert "chooses no VM" in ran.stderr


def _nothing() -> Any:
    from datetime import timedelta

    return timedelta()
