"""A manifest means the same in a file and in a cluster: what a server makes of it, we read as we
read the file, though it fills in defaults, turns numbers into its own, and keeps no order of keys.
"""

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from spec_pages import all_manifests

from reconciler.desired.document import Document, ManifestFile
from reconciler.desired.envelope import API_VERSION
from reconciler.desired.resolve import resolve
from reconciler.desired.state import Desired
from reconciler.kube.objects import document_of
from reconciler.kube.resources import resource_of
from reconciler.sources.documents import parse_file

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = [
    *sorted((ROOT / "examples").glob("*.yaml")),
    *sorted((ROOT / "tests" / "golden" / "stories").glob("*/desired.yaml")),
]


@pytest.mark.parametrize(
    "path",
    MANIFESTS,
    ids=lambda path: f"{path.parent.name}/{path.name}".removesuffix("/desired.yaml"),
)
def test_in_a_file_and_in_a_cluster(
    api: httpx.Client, path: Path, request: pytest.FixtureRequest
) -> None:
    means_the_same(api, path.read_text(), request)


def test_what_docs_show_in_a_file_and_in_a_cluster(
    api: httpx.Client, request: pytest.FixtureRequest
) -> None:
    ours = [text for text in all_manifests().split("---\n") if API_VERSION in text]
    means_the_same(api, "---\n".join(ours), request)


def means_the_same(api: httpx.Client, text: str, request: pytest.FixtureRequest) -> None:
    if "namespace: backups" in text:
        ours = request.getfixturevalue("namespace").name
        text = text.replace("namespace: backups", f"namespace: {ours}")
    file = parse_file("same.yaml", text.encode())
    from_file = resolve([file]).desired
    taken, refused = [], []
    for document in file.documents:
        answer = made(api, document)
        if answer.is_success:
            taken.append(document_of(answer.json(), "same.yaml"))
        else:
            refused.append(answer.json()["message"])
    if from_file.problems:
        return  # whatever the server takes of it, its status says the rest
    assert not refused, refused
    from_cluster = resolve([ManifestFile("same.yaml", tuple(taken))]).desired
    assert plain(from_cluster) == plain(from_file)


def made(api: httpx.Client, document: Document) -> httpx.Response:
    """What the server would keep of a document, as it would be read back."""
    manifest = document.plain()
    resource = resource_of(str(manifest["kind"]))
    metadata = manifest["metadata"]
    assert manifest["apiVersion"] == API_VERSION
    assert isinstance(metadata, dict)
    return api.post(
        resource.path(str(metadata.get("namespace", "default"))),
        params={"fieldValidation": "Strict", "dryRun": "All"},
        content=json.dumps(manifest),
        headers={"Content-Type": "application/json"},
    )


def plain(desired: Desired) -> Desired:
    """Without what only one of the two can know: lines, and what a server notes of an object."""
    return replace(
        desired,
        problems=(),
        warnings=(),
        restores={
            name: replace(one, id="", asked_at=None) for name, one in desired.restores.items()
        },
    )
