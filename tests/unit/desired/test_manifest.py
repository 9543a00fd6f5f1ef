from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.manifest import read_manifest

Parse = Callable[[str], Document]

HEAD = (
    "apiVersion: backup.reconciler.io/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"
)
SPEC = "{local: {path: /srv/backups}}"


def remote(metadata: str = "{name: cellar}", kind: str = "BackupRemote", spec: str = SPEC) -> str:
    return HEAD.format(kind=kind, metadata=metadata, spec=spec)


def said(document: Document) -> list[tuple[str, str]]:
    return [(problem.message, problem.hint) for problem in read_manifest(document).problems]


def test_a_faultless_one(document: Parse) -> None:
    manifest = read_manifest(document(remote()))
    assert manifest.problems == manifest.warnings == ()
    assert manifest.identity == Identity("BackupRemote", "default", "cellar")
    assert manifest.spec is not None
    assert manifest.line == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (remote().replace("apiVersion: backup.reconciler.io/v1alpha1\n", ""), "apiVersion is", ""),
        (remote().replace("v1alpha1", "v1"), "unknown apiVersion", "v1alpha1"),
        (remote().replace("backup.reconciler", "backup.reconcilr"), "unknown apiVersion", "v1al"),
        (remote().replace("backup.reconciler.io/v1alpha1", "v1"), "unknown apiVersion", "v1alpha"),
        (remote().replace("backup.reconciler.io/v1alpha1", "1"), "apiVersion must be text", ""),
        (remote(kind="BackupRemot"), 'unknown kind "BackupRemot"', "BackupRemote"),
        (remote(kind="Banana"), 'unknown kind "Banana"', "XenPool, BackupRemote, BackupJob"),
        ("apiVersion: v1\nkind: List\nitems: []\n", "unknown apiVersion", ""),
        (remote(kind="List"), "not supported yet", "---"),
        (remote(kind="RestoreRequest"), "not supported yet", "write kind: Restore"),
        (remote().replace("kind: BackupRemote\n", ""), "kind is missing", "XenPool"),
        (remote() + "specs: {}\n", 'unknown field "specs"', '"spec"'),
        (remote() + "status: {}\n", 'unknown field "status"', "remove it"),
        (remote() + "zebra: {}\n", 'unknown field "zebra"', "metadata"),
        (remote("{}"), "metadata.name is missing", ""),
        (remote("[]"), "metadata must be a mapping", ""),
        (remote("{name: 7}"), "metadata.name must be text, not 7", "quotes"),
        (remote("{name: ~}"), "metadata.name has no value", "remove the field"),
        (remote("{name: cellar_1}"), "metadata.name must be a name", "lower-case"),
        (remote("{name: -x}"), "metadata.name must be a name", "lower-case"),
        (remote("{name: x, namespace: a.b}"), "metadata.namespace must be a name", "63"),
        (remote("{name: x, labels: {a: 1}}"), "metadata.labels.a must be text", ""),
        (remote(spec="~"), "spec must be a mapping", ""),
        (remote().replace(f"spec: {SPEC}\n", ""), "spec is missing", ""),
    ],
)
def test_mistakes_around_the_spec(document: Parse, text: str, message: str, hint: str) -> None:
    ((first_message, first_hint), *_) = said(document(text))
    assert message in first_message
    assert hint in first_hint
    assert read_manifest(document(text)).spec is None


def test_the_name_of_a_faulty_object_is_known(document: Parse) -> None:
    manifest = read_manifest(
        document(remote(spec="{locl: {}}", metadata="{name: x, namespace: y}"))
    )
    assert manifest.identity == Identity("BackupRemote", "y", "x")
    assert {problem.object for problem in manifest.problems} == {"BackupRemote/y/x"}


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: ConfigMap\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
        "apiVersion: velero.io/v1\nkind: Backup\nmetadata: {name: x}\n",
        "apiVersion: backups.cozystack.io/v1alpha1\nkind: BackupJob\nmetadata: {name: x}\n",
    ],
)
def test_somebody_elses_objects_are_skipped_with_a_word(document: Parse, text: str) -> None:
    manifest = read_manifest(document(text))
    assert manifest.foreign
    assert manifest.problems == ()
    assert "skipped" in manifest.warnings[0].message


def test_two_mistakes_of_yaml_and_of_meaning_are_both_told(document: Parse) -> None:
    messages = [message for message, _ in said(document(remote() + "spec: {}\nzebra: 1\n"))]
    assert len(messages) == 2


class TestAnnotations:
    def test_a_run_is_asked_for_by_an_instant(self, document: Parse) -> None:
        text = remote(
            '{name: x, annotations: {backup.reconciler.io/run-at: "2026-01-31T02:00:00Z"}}'
        )
        assert read_manifest(document(text)).run_at == datetime(2026, 1, 31, 2, tzinfo=UTC)

    @pytest.mark.parametrize("instant", ["now", "2026-01-31T02:00:00", "2026-13-31T02:00:00Z"])
    def test_what_is_no_instant_is_refused(self, document: Parse, instant: str) -> None:
        text = remote(f'{{name: x, annotations: {{backup.reconciler.io/run-at: "{instant}"}}}}')
        ((message, hint),) = said(document(text))
        assert "must be an instant" in message
        assert "2026-01-31T02:00:00Z" in hint

    def test_a_near_miss_is_worth_a_word_and_others_are_not(self, document: Parse) -> None:
        text = remote(
            '{name: x, annotations: {backup.reconciler.io/run-att: "x", example.net/own: "y"}}'
        )
        (warning,) = read_manifest(document(text)).warnings
        assert warning.hint == "did you mean backup.reconciler.io/run-at?"


def test_the_pinned_id_of_a_faulty_job_is_read(document: Parse) -> None:
    pinned = "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
    text = remote(kind="BackupJob", spec=f"{{jobId: {pinned}, x: y}}")
    assert read_manifest(document(text)).pinned_job == pinned
    assert read_manifest(document(text.replace(pinned, "../x"))).pinned_job is None


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("", None),
        ("nightly/20260101T020000Z,", None),
        ("20260101T020000Z", "is not the name of a run"),
        ("nightly", "is not the name of a run"),
        ("nightly/yesterday", "is not the name of a run"),
        ("nightly/20260231T020000Z", "is not the name of a run"),
        ("weekly/20260101T020000Z", "is a run of another job"),
        ("erp/nightly/20260101T020000Z", "is a run of another job"),
    ],
)
def test_only_runs_of_the_job_are_cancelled(document: Parse, runs: str, said: str | None) -> None:
    manifest = read_manifest(
        document(
            "apiVersion: backup.reconciler.io/v1alpha1\nkind: BackupJob\n"
            "metadata:\n  name: nightly\n"
            f'  annotations: {{backup.reconciler.io/cancel: "{runs}"}}\n'
            "spec: {}\n"
        )
    )
    found = [one.message for one in manifest.problems if "cancel" in one.message]
    assert len(found) == (said is not None)
    assert all(str(said) in message for message in found)
