"""One document to one checked manifest: which object it is, and its spec or its mistakes.

Looks at one document alone; what only several together can get wrong is `resolve`'s.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import TypeAlias

from pydantic import ValidationError

from reconciler.desired.document import (
    DEFAULT_NAMESPACE,
    Document,
    Identity,
    MappingNode,
    ScalarNode,
)
from reconciler.desired.envelope import (
    ANNOTATIONS,
    API_VERSION,
    APPROVE_PLAN,
    CANCEL,
    GROUP,
    RECONCILE,
    RUN_AT,
    Fields,
    Metadata,
)
from reconciler.desired.job import JobSpec
from reconciler.desired.pool import PoolSpec
from reconciler.desired.problems import PROBLEMS_MAX, Problem
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.restore import RestoreSpec
from reconciler.desired.run import RunSpec
from reconciler.desired.wording import null_problems, problems_of, quoted
from reconciler.ids import UUID, RunId, Stamp, instant_of

POOL, REMOTE, JOB = "XenPool", "BackupRemote", "BackupJob"
RESTORE, RUN = "Restore", "BackupRun"
PROTECTED = "ProtectedVM"
"""Only the operator writes these: no manifest is of this kind."""
Spec: TypeAlias = PoolSpec | RemoteSpec | JobSpec | RestoreSpec | RunSpec
KINDS: dict[str, type[Spec]] = {
    POOL: PoolSpec,
    REMOTE: RemoteSpec,
    JOB: JobSpec,
    RESTORE: RestoreSpec,
    RUN: RunSpec,
}
_LATER = {
    "RestoreRequest": "write kind: Restore",
    "VerificationRun": "restore a point now and then: reconciler restore",
    "MirrorJob": "give a BackupJob several targets",
    "MetadataBackup": "",
    "BackupPolicy": "see spec.pruneGuard of BackupJob",
    "BackupPreset": "YAML anchors work within a file",
    "FreezeWindow": "use spec.suspend of BackupJob",
    "NotificationTarget": "watch logs and exit codes for now",
    PROTECTED: "the operator writes these; remove it, nothing is lost",
    "RestorePoint": "",
    "List": "write documents one after the other, with --- between them",
}
_TOP = ("apiVersion", "kind", "metadata", "spec")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one document says.

    identity: None if not even that can be told. spec: None unless the document is faultless.
    foreign: an object of somebody else's API; not a mistake, and not ours. cancelled: runs of
    this job that are to end. look: differs whenever the world is to be looked at again.
    """

    document: Document
    identity: Identity | None
    spec: Spec | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    run_at: datetime | None = None
    approval: str | None = None
    foreign: bool = False
    cancelled: tuple[RunId, ...] = ()
    look: str | None = None

    @property
    def line(self) -> int:
        return self.document.mark(()).line

    @property
    def pinned_job(self) -> str | None:
        """The job id the manifest pins, even if the rest of it is wrong."""
        node = self.document.node(("spec", "jobId"))
        match node:
            case ScalarNode(str(value)) if UUID.fullmatch(value):
                return value
            case _:
                return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What annotations ask for."""

    run_at: datetime | None = None
    approval: str | None = None
    cancelled: tuple[RunId, ...] = ()
    look: str | None = None


def read_manifest(document: Document) -> Manifest:
    """Check one document; all of its mistakes are in `problems`."""
    return _Reader(document).read()


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems: list[Problem] = list(document.problems)
        self._warnings: list[Problem] = []
        self._identity: Identity | None = None
        self._subject = ""

    def read(self) -> Manifest:
        kind = self._text("kind")
        if self._is_foreign(kind):
            warning = self._document.problem(
                ("apiVersion",), "not one of our objects: skipped", f"ours are {API_VERSION}"
            )
            return Manifest(self._document, None, None, warnings=(warning,), foreign=True)
        self._identity = self._identify(kind)
        self._subject = str(self._identity or "")
        self._problems = [replace(one, object=self._subject) for one in self._problems]
        self._check_type(kind)
        strange = [entry.key for entry in self._document.root.entries if entry.key not in _TOP]
        for key in strange[: PROBLEMS_MAX + 1]:
            self._unknown_field(key)
        metadata = self._fields(Metadata, "metadata")
        spec = self._fields(KINDS[kind], "spec") if kind in KINDS else None
        asked = self._annotations(metadata) if isinstance(metadata, Metadata) else _Asked()
        assert spec is None or isinstance(spec, Spec)
        return Manifest(
            self._document,
            self._identity,
            None if self._problems else spec,
            tuple(self._problems),
            tuple(self._warnings),
            run_at=asked.run_at,
            approval=asked.approval,
            cancelled=asked.cancelled,
            look=asked.look,
        )

    def _text(self, *path: str) -> str | None:
        match self._document.node(path):
            case ScalarNode(str(value)):
                return value
            case _:
                return None

    def _problem(
        self, path: tuple[str, ...], message: str, hint: str = "", *, key: bool = False
    ) -> None:
        self._problems.append(
            self._document.problem(path, message, hint, key=key, subject=self._subject)
        )

    def _is_foreign(self, kind: str | None) -> bool:
        """Tell somebody else's object from ours with a mistake in it: near misses are ours.

        Others have a kind BackupJob or Backup, too; so the group decides where there is one.
        """
        version = self._text("apiVersion")
        if version is None or kind is None or kind == "List":
            return False
        group = version.partition("/")[0]
        if "/" in version or "." in version:
            return not get_close_matches(group[:64], [GROUP], cutoff=0.7)
        return not get_close_matches(kind[:64], KINDS, cutoff=0.85)

    def _identify(self, kind: str | None) -> Identity | None:
        name = self._text("metadata", "name")
        namespace = self._text("metadata", "namespace") or DEFAULT_NAMESPACE
        if kind is None or name is None:
            return None
        near = get_close_matches(kind[:64], KINDS, n=1, cutoff=0.8)
        return Identity(near[0] if near else kind[:64], namespace[:64], name[:253])

    def _check_type(self, kind: str | None) -> None:
        version = self._text("apiVersion")
        if version is None:
            state = "must be text" if self._document.node(("apiVersion",)) else "is missing"
            self._problem(("apiVersion",), f"apiVersion {state}", f"write {API_VERSION}", key=True)
        elif version != API_VERSION:
            self._problem(
                ("apiVersion",),
                f"unknown apiVersion {quoted(version)}",
                f"did you mean {API_VERSION}?",
            )
        if kind is None:
            state = "must be text" if self._document.node(("kind",)) else "is missing"
            self._problem(("kind",), f"kind {state}", f"kinds here: {', '.join(KINDS)}", key=True)
        elif kind in _LATER:
            self._problem(("kind",), f"kind {kind} is not supported yet", _LATER[kind])
        elif kind not in KINDS:
            near = get_close_matches(kind[:64], KINDS, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"kinds here: {', '.join(KINDS)}"
            self._problem(("kind",), f"unknown kind {quoted(kind)}", hint)

    def _unknown_field(self, key: str) -> None:
        if key == "status":
            hint = "it says what is, not what should be; remove it"
        elif near := get_close_matches(key[:64], _TOP, n=1, cutoff=0.6):
            hint = f'did you mean "{near[0]}"?'
        else:
            hint = f"fields here: {', '.join(_TOP)}"
        self._problem((key,), f"unknown field {quoted(key)}", hint, key=True)

    def _fields(self, model: type[Fields], part: str) -> Fields | None:
        """Check metadata or spec as a whole; None if anything in it is wrong."""
        node = self._document.node((part,))
        if node is None:
            self._problem((), f"{part} is missing")
            return None
        if not isinstance(node, MappingNode):
            self._problem((part,), f"{part} must be a mapping", key=True)
            return None
        found: list[Problem] = []
        fields: Fields | None = None
        try:
            fields = model.model_validate_json(json.dumps(self._document.plain()[part]))
        except ValidationError as error:
            found.extend(problems_of(error, model, self._document, (part,), self._subject))
        places = {(one.line, one.column) for one in found if one.line}
        for problem in null_problems(self._document, (part,), self._subject):
            if (problem.line, problem.column) not in places:
                found.append(problem)
        self._problems.extend(found)
        return None if found else fields

    def _annotations(self, metadata: Metadata) -> "_Asked":
        for key in metadata.annotations:
            if key.startswith(f"{GROUP}/") and key not in ANNOTATIONS:
                near = get_close_matches(key[:128], ANNOTATIONS, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ANNOTATIONS)}"
                self._warnings.append(
                    self._document.problem(
                        ("metadata", "annotations", key),
                        f"unknown annotation {quoted(key)}",
                        hint,
                        key=True,
                        subject=self._subject,
                    )
                )
        return _Asked(
            self._run_at(metadata),
            metadata.annotations.get(APPROVE_PLAN),
            tuple(self._cancelled(metadata)),
            metadata.annotations.get(RECONCILE),
        )

    def _cancelled(self, metadata: Metadata) -> Iterator[RunId]:
        """Read run ids, comma separated. Those of other jobs would be cancelled by mistake."""
        job = self._identity.full_name if self._identity else ""
        for text in (part.strip() for part in metadata.annotations.get(CANCEL, "").split(",")):
            name, _, stamp = text.rpartition("/")
            try:
                instant_of(Stamp(stamp))
            except ValueError:
                name = ""
            if name == job:
                yield RunId(text)
            elif text:
                said = "is a run of another job" if name else "is not the name of a run"
                self._problem(
                    ("metadata", "annotations", CANCEL),
                    f"{CANCEL}: {quoted(text)} {said}",
                    f"for example {job}/20260131T020000Z; reconciler get runs lists them",
                )

    def _run_at(self, metadata: Metadata) -> datetime | None:
        text = metadata.annotations.get(RUN_AT)
        if text is None:
            return None
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            self._problem(
                ("metadata", "annotations", RUN_AT),
                f"{RUN_AT} must be an instant",
                "for example 2026-01-31T02:00:00Z",
            )
            return None
        return instant
