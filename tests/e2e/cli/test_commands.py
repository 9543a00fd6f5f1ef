"""Every command that shows or restores something, as a user runs it, against one lab."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

MIB = 1024 * 1024


def test_plan_of_a_world_in_sync(world: Any) -> None:
    before = world.snapshot_of_files()
    ran = world.run("plan", world.manifests)
    assert (ran.code, ran.stderr) == (0, "")
    assert "Plan: in sync" in ran.stdout
    assert world.snapshot_of_files() == before


def test_plan_of_changes_writes_nothing(world: Any, tmp_path: Path) -> None:
    """To a new remote, everything is owed."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "places.yaml").write_text(world.places(remote=empty))
    (tmp_path / "job.yaml").write_text(world.job)
    before = world.snapshot_of_files()
    for output, sign in (
        ("text", "+ export"),
        ("json", '"Export"'),
        ("markdown", "| `+` | export"),
    ):
        ran = world.run("plan", tmp_path, "-o", output)
        assert ran.code == 2, ran.stdout
        assert sign in ran.stdout
        assert "\x1b" not in ran.stdout
    assert list(empty.iterdir()) == []
    assert world.snapshot_of_files() == before


def test_plan_with_a_problem_shows_it_and_what_is_known(world: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(world.job.replace("selector", "sellector"))
    ran = world.run("plan", world.manifests, tmp_path)
    assert ran.code == 1
    assert "sellector" in ran.stderr
    assert "Plan: " in ran.stdout


def test_plan_with_an_unreachable_pool_shows_the_rest(world: Any, tmp_path: Path) -> None:
    (tmp_path / "places.yaml").write_text(world.places(url="http://127.0.0.1:9"))
    (tmp_path / "job.yaml").write_text(world.job)
    ran = world.run("plan", tmp_path)
    assert ran.code == 1
    assert "pool lab: " in ran.stderr
    assert "Plan: " in ran.stdout
    assert "Traceback" not in ran.stderr


def test_validate(world: Any, tmp_path: Path) -> None:
    assert world.run("validate", world.manifests).code == 0
    (tmp_path / "bad.yaml").write_text(world.job.replace("last: 3", "lastt: 3") + "---\nkind: [\n")
    ran = world.run("validate", world.manifests, tmp_path)
    assert ran.code == 1
    assert 'did you mean "last"?' in ran.stdout
    assert "^^^^^" in ran.stdout
    problems = world.run("validate", tmp_path, "-o", "json").json["problems"]
    assert {problem["path"] for problem in problems} == {str(tmp_path / "bad.yaml")}
    assert "XenPool" in problems[0]["message"]
    assert problems[-1]["line"] == 12


def test_a_directory_that_is_not_there_is_a_usage_error(world: Any) -> None:
    for command in ("plan", "validate", "run"):
        ran = world.run(command, "/no/such/directory")
        assert ran.code == 64
        assert "does not exist" in ran.stderr


def test_restore_a_disk_to_files(world: Any, tmp_path: Path) -> None:
    for number in (0, 1):
        output = tmp_path / f"disk{number}"
        words = ["--disk", number, "--to-file", output]
        ran = world.run("restore", world.hostile, world.manifests, *words)
        assert (ran.code, ran.stdout) == (0, f"{output}\n")
        assert output.read_bytes()[: 3 * MIB] == world.content(1 + number)
        assert "\x1b" not in ran.stderr
    again = world.run("restore", world.hostile, world.manifests, "--disk", 0, "--to-file", output)
    assert again.code == 1
    assert "never overwritten" in again.stderr
    assert output.read_bytes()[: 3 * MIB] == world.content(2)


def test_restore_as_a_new_vm_and_prove_it(world: Any, tmp_path: Path) -> None:
    """Back up what was restored: its disk is the same again."""
    ran = world.run("restore", "db", world.manifests, "--to-pool", "lab", "--name", "db again")
    assert ran.code == 0, ran.stderr
    uuid = ran.stdout.strip()
    job = world.job.replace("nightly", "copies").replace("matchTags: [prod]", f"uuids: [{uuid}]")
    (tmp_path / "copies.yaml").write_text(job)
    backup = world.run("backup", "copies", world.manifests, tmp_path, "-o", "json")
    assert backup.code == 0, backup.stderr
    assert [part["subject"] for part in backup.json["parts"]] == ["VM db again on remote cellar"]
    output = tmp_path / "disk"
    point = backup.json["parts"][0]["point"]
    ran = world.run("restore", point, world.manifests, "--disk", 0, "--to-file", output)
    assert ran.code == 0, ran.stderr
    assert output.read_bytes()[: 3 * MIB] == world.content(3)


def test_restore_plan_shows_and_does_nothing(world: Any) -> None:
    before = world.snapshot_of_files()
    words = ["restore", "db@latest", world.manifests, "--to-pool", "lab", "--plan"]
    ran = world.run(*words)
    assert ran.code == 0
    assert "1 full and 0 deltas" in ran.stdout
    planned = world.run(*words, "-o", "json").json
    assert planned["to"]["pool"] == "lab"
    assert planned["disks"][0]["chain"][0]["kind"] == "Full"
    assert world.snapshot_of_files() == before


def test_restore_progress_for_programs(world: Any, tmp_path: Path) -> None:
    output = tmp_path / "disk.qcow2"
    words = ["--disk", 0, "--to-file", output, "--format", "qcow2", "--progress", "json"]
    ran = world.run("restore", "db", world.manifests, *words)
    assert ran.code == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["made"] == str(output)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nosuch", "--to-pool", "lab"], 1, "no restore point of such a VM"),
        (["db@20200101T000000Z", "--to-pool", "lab"], 1, "no such restore point"),
        (["db", "--to-pool", "nosuch"], 1, "there are: lab"),
        (["db", "--to-pool", "lab", "--remote", "nosuch"], 1, "there are: cellar"),
        (["db", "--to-pool", "lab", "--sr", "nosuch"], 1, "nosuch"),
        (["db", "--to-pool", "lab", "--as-of", "2020-01-01"], 1, "no such restore point"),
        (["db", "--disk", "7", "--to-file", "x"], 1, "no such disk"),
        (["db", "--disk", "0", "--to-file", "/no/such/place/x"], 1, "no such directory"),
        (["db"], 64, "say where to"),
        (["db", "--disk", "0"], 64, "need each other"),
        (["db", "--to-pool", "lab", "--disk", "0", "--to-file", "x"], 64, "say where to"),
        (["db", "--to-file", "x", "--disk", "0", "--start"], 64, "are about a new VM"),
        (["db", "--to-pool", "lab", "--format", "vhd"], 64, "about a file"),
        (["db", "--to-pool", "lab", "--as-of", "yesterday"], 64, "is not a time"),
        (["db", "--to-pool", "lab", "--timeout", "soon"], 64, "is not a duration"),
    ],
)
def test_what_cannot_be_restored_is_said(
    world: Any, words: list[str], code: int, said: str
) -> None:
    ran = world.run("restore", words[0], world.manifests, *words[1:])
    assert (ran.code, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_restore_from_a_pool_or_remote_that_is_gone(world: Any, tmp_path: Path) -> None:
    (tmp_path / "places.yaml").write_text(world.places(url="http://127.0.0.1:9"))
    assert world.run("restore", "db", tmp_path, "--to-pool", "lab").code == 14
    (tmp_path / "places.yaml").write_text(world.places(remote=tmp_path / "gone"))
    ran = world.run("restore", "db", tmp_path, "--to-pool", "lab")
    assert ran.code == 10
    assert "is it mounted?" in ran.stderr


def test_a_wrong_password_is_its_own_exit_code(world: Any, tmp_path: Path) -> None:
    text = world.places().replace("LAB_PASSWORD", "HOME")
    (tmp_path / "places.yaml").write_text(text)
    ran = world.run("restore", "db", tmp_path, "--to-pool", "lab")
    assert ran.code == 12
    assert world.facts["password"] not in ran.stderr
    assert os.environ["HOME"] not in ran.stderr
