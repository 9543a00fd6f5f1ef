"""Manifests of docs/spec, each page as a person copies it, put to a real API server."""

import json

import pytest
from clusters import Kubectl
from ruamel.yaml import YAML
from spec_pages import KINDS, manifests_of


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_page_shows_is_accepted(kubectl: Kubectl, kind: str) -> None:
    shown = manifests_of(kind)
    assert shown
    for text in shown:
        said = kubectl.apply(text, "--dry-run=server")
        assert f"{kind.lower()}.backup.reconciler.io/" in said
        assert said.count(" created (server dry run)") == said.count("\n")


def test_a_status_that_a_page_shows_is_one_that_a_server_takes(kubectl: Kubectl) -> None:
    (text,) = manifests_of("ProtectedVM")
    shown = YAML(typ="safe").load(text)
    kubectl.apply(text)
    name = shown["metadata"]["name"]
    patch = json.dumps({"status": shown["status"]})
    kubectl("patch", "pvm", name, "--subresource=status", "--type=merge", "-p", patch)
    assert kubectl.json("get", "pvm", name)["status"] == shown["status"]
