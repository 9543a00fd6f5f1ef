"""`get` and `describe`, in every form, of a world with a hostile name in it."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

KINDS = ("pools", "remotes", "jobs", "vms", "points", "runs")


def test_tables_say_how_things_stand(world: Any) -> None:
    shown = {kind: world.run("get", kind, world.manifests).stdout for kind in KINDS}
    assert "lab    True" in shown["pools"]
    assert "cellar   local   True" in shown["remotes"]
    assert "nightly" in shown["jobs"]
    assert "web\\x1b[2J[red]   lab    nightly   Protected" in shown["vms"]
    assert "Full   " in shown["points"]
    assert "nightly/" in shown["runs"]
    assert "Succeeded" in shown["runs"]
    for text in shown.values():
        assert "\x1b" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_shows_the_same(world: Any, kind: str) -> None:
    document = world.run("get", kind, world.manifests, "-o", "json").json
    yaml = YAML(typ="safe").load(world.run("get", kind[:-1], world.manifests, "-o", "yaml").stdout)
    for item in (*yaml["items"], *document["items"]):
        item.pop("seenAt", None)  # it was looked at twice
        item.pop("freeBytes", None)
    assert yaml == document
    assert document["apiVersion"] == "backup.reconciler.io/v1alpha1"
    names = world.run("get", kind, world.manifests, "-o", "name").stdout.splitlines()
    assert len(names) == len(document["items"]) > 0
    table = world.run("get", kind, world.manifests).stdout.splitlines()
    wide = world.run("get", kind, world.manifests, "-o", "wide").stdout.splitlines()
    assert len(table) == len(wide) == len(names) + 1
    assert wide[0].startswith(table[0][:20])
    for name in names:
        described = world.run("describe", kind[:-1], name, world.manifests)
        assert described.code == 0, described.stderr
        assert "\x1b" not in described.stdout
        assert world.run("describe", kind, name, world.manifests, "-o", "json").json
    assert world.run("describe", kind, names[0], world.manifests, "-o", "yaml").code == 0


def test_names_of_points_are_what_restore_takes(world: Any, tmp_path: Path) -> None:
    for number, name in enumerate(
        world.run("get", "points", world.manifests, "-o", "name").stdout.splitlines()
    ):
        output = tmp_path / str(number)
        words = ["restore", name, world.manifests, "--disk", 0, "--to-file", output]
        assert world.run(*words).code == 0


def test_what_is_there_is_shown_where_something_is_not(world: Any, tmp_path: Path) -> None:
    (tmp_path / "places.yaml").write_text(world.places(remote=tmp_path / "gone"))
    (tmp_path / "job.yaml").write_text(world.job)
    ran = world.run("get", "vms", tmp_path)
    assert ran.code == 1
    assert "remote cellar: " in ran.stderr
    assert "Unknown" in ran.stdout
    assert world.run("get", "pools", tmp_path).code == 0
    ran = world.run("get", "remotes", tmp_path)
    assert ran.code == 1
    assert "cellar   local   Unknown" in ran.stdout
    ran = world.run("get", "points", tmp_path)
    assert (ran.code, ran.stdout) == (1, "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["get", "disks"], 64, "kinds: pools, remotes"),
        (["get", "pools"], 64, "name DIR"),
        (["get", "pools", "/no/such/place"], 64, "does not exist"),
        (["get", "pools", "-o", "csv"], 64, "'csv' is not one of"),
        (["describe", "pool"], 64, "Missing argument"),
        (["describe", "disk", "x"], 64, "kinds: pools, remotes"),
        (["describe", "run", "nosuch"], 1, "no such run"),
    ],
)
def test_what_makes_no_sense_is_said(world: Any, words: list[str], code: int, said: str) -> None:
    ran = world.run(*words)
    assert (ran.code, ran.stdout) == (code, "")
    assert said in ran.stderr


@pytest.mark.parametrize("kind", ["pool", "remote", "job", "vm", "point"])
def test_describing_what_is_not_there(world: Any, kind: str) -> None:
    ran = world.run("describe", kind, "nosuch", world.manifests)
    assert (ran.code, ran.stdout) == (1, "")
    assert "nosuch" in ran.stderr
    assert "hint: " in ran.stderr


def test_no_history_is_no_failure_and_a_broken_one_is(world: Any, tmp_path: Path) -> None:
    ran = world.run("get", "runs", "--state", tmp_path)
    assert (ran.code, ran.stdout) == (0, "")
    assert "nothing has run with it" in ran.stderr
    assert world.run("get", "runs", "--state", tmp_path, "-o", "json").json["items"] == []
    (tmp_path / "history.sqlite").write_bytes(b"no database at all" * 1000)
    ran = world.run("get", "runs", "--state", tmp_path)
    assert ran.code == 1
    assert "only history is lost" in ran.stderr


def test_runs_of_desired_jobs_alone(world: Any, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(world.places() + "---\n" + world.job.replace("nightly", "x"))
    assert world.run("get", "runs", tmp_path, "-o", "name").stdout == ""
    assert "nightly/" in world.run("get", "runs", world.manifests, "-o", "name").stdout
