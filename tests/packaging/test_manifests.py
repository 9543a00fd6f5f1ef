"""manifests/: what can be said of the files alone. What a server makes of them: tests/kube."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.desired.crd import render_crds

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
GROUP = "backup.reconciler.io"

Object = dict[str, Any]


@cache
def documents(path: Path) -> tuple[Object, ...]:
    return tuple(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


def roles() -> list[Object]:
    found = [one for path in MANIFESTS.rglob("*.yaml") for one in documents(path)]
    return [one for one in found if one.get("kind") in {"Role", "ClusterRole"}]


def role(name: str) -> Object:
    (found,) = [one for one in roles() if one["metadata"]["name"] == name]
    return found


def rights(name: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb), all that a role allows."""
    return {
        (group, resource, verb)
        for rule in role(name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("one", roles(), ids=lambda one: one["metadata"]["name"])
def test_no_role_says_everything(one: Object) -> None:
    for rule in one["rules"]:
        for field in ("apiGroups", "resources", "verbs"):
            assert rule[field], field
            assert "*" not in rule[field], field
    for rule in one["rules"]:
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


@pytest.mark.parametrize("name", ["view", "edit", "restore", "admin"])
def test_people_see_every_kind_that_the_operator_reads(name: str) -> None:
    read = {one for one in rights("reconciler-operator") if one[2] in {"get", "list", "watch"}}
    kinds = {one for one in read if one[0] == GROUP}
    assert {one[1] for one in kinds} >= {
        file.partition("_")[2].removesuffix(".yaml") for file in render_crds()
    }
    assert rights(f"reconciler-{name}") >= kinds


def test_to_restore_and_to_approve_is_more_than_to_edit() -> None:
    edit, restore, admin = (rights(f"reconciler-{one}") for one in ("edit", "restore", "admin"))
    assert (GROUP, "restores", "create") not in edit
    assert (GROUP, "restores", "create") in restore & admin
    assert {one for one in restore if one[2] == "approve"} == set()
    assert {one for one in edit if one[2] == "approve"} == set()
    assert {one for one in admin if one[2] == "approve"} == {(GROUP, "backupjobs", "approve")}
    assert edit | restore < admin


def test_the_operator_writes_nothing_that_people_own() -> None:
    written = {
        one for one in rights("reconciler-operator") if one[2] not in {"get", "list", "watch"}
    }
    assert {one[1] for one in written if one[0] == GROUP and "/" not in one[1]} == {
        "backupruns",
        "protectedvms",
    }
    assert {one[2] for one in rights("reconciler-operator") if one[1] == "secrets"} == {"get"}


@pytest.mark.parametrize("place", ["default", "namespaced"])
def test_the_image_is_of_this_version(place: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (kustomization,) = documents(MANIFESTS / place / "kustomization.yaml")
    assert kustomization["images"] == [{"name": "reconciler", "newTag": project["version"]}]
