"""What to say of an object before it is there: refused, warned of, or nothing. Pure.

The validators are those of files; only who is told differs. *Refused* is what is wrong with the
object by itself and stays wrong whatever else is applied or deleted. Whatever another object may
mend, by coming, changing or going, is a *warning*: a directory is applied in any order, and what an
object takes the place of is often deleted last. So a refusal never depends on what has been seen.

A mistake that the object had before is a warning, too: who suspends a job, or takes a finalizer
off, need not mend first what is not theirs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from reconciler.desired.document import Document, Identity, ManifestFile
from reconciler.desired.job import JobSpec
from reconciler.desired.manifest import (
    JOB,
    KINDS,
    POOL,
    REMOTE,
    RESTORE,
    RUN,
    Manifest,
    read_manifest,
)
from reconciler.desired.problems import Problem
from reconciler.desired.references import references_of
from reconciler.desired.resolve import resolve
from reconciler.desired.state import Desired, Job
from reconciler.kube.objects import Raw, document_of, identity_of, is_leaving, is_over, manifest_of
from reconciler.kube.shelf import Shelved

_AGREES_WITH = {REMOTE: (REMOTE,), JOB: (POOL, REMOTE), RESTORE: (POOL, REMOTE), RUN: (JOB,)}
"""Kinds that one of this kind refers to, or must not clash with; a job also with few other jobs."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is about to be. old: None for an object that is new."""

    new: Raw
    old: Raw | None = None

    @property
    def asks(self) -> bool:
        """Say whether the object asks for anything that it did not ask for before."""
        if self.new["kind"] not in KINDS or is_leaving(self.new) or is_over(self.new):
            return False
        return self.old is None or manifest_of(self.old) != manifest_of(self.new)

    @property
    def keeps_spec(self) -> bool:
        return self.old is not None and self.old.get("spec") == self.new.get("spec")


@dataclass(frozen=True, slots=True)
class Verdict:
    """mistakes: any of them refuses the object."""

    mistakes: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def judge(change: Change, shelved: Shelved | None = None, found: Iterable[Raw] = ()) -> Verdict:
    """Judge a change. shelved: what else is there, as last seen; None if that is not known.

    found: objects that are there as well, and were not seen yet.
    """
    if not change.asks:
        return Verdict()
    document = _document(change.new)
    alone = _alone(document)
    wrong = _lasting(alone)
    before = _lasting(_alone(_document(change.old))) if wrong and change.old is not None else []
    mistakes = tuple(one for one in wrong if one not in before)
    if change.keeps_spec:
        return Verdict(mistakes)  # of what stands there already, nobody wants to hear each time
    warnings = [*(one for one in wrong if one in before), *alone.warnings]
    if shelved is not None:
        together = _together(document, shelved, {identity_of(raw): raw for raw in found})
        warnings += [one for one in together if one not in wrong]
    return Verdict(mistakes, tuple(warnings))


def unseen(change: Change, shelved: Shelved) -> list[Identity]:
    """Return what the object refers to and has not been seen: perhaps it only just came."""
    if not change.asks or change.keeps_spec:
        return []
    return sorted(_named(identity_of(change.new), _document(change.new)) - shelved.read.keys())


def _named(identity: Identity, document: Document) -> set[Identity]:
    references = references_of(identity.kind, document)
    return {Identity(kind, identity.namespace, read.name) for kind, read in references}


def _document(raw: Raw) -> Document:
    return document_of(raw, str(identity_of(raw)))


def _alone(document: Document) -> Desired:
    return resolve([ManifestFile(document.path, (document,))]).desired


def _lasting(desired: Desired) -> list[Problem]:
    return [one for one in desired.problems if not one.waits]


def _together(
    document: Document, shelved: Shelved, found: Mapping[Identity, Raw]
) -> Iterator[Problem]:
    """Yield what is wrong with a document among others."""
    manifest = read_manifest(document)
    identity = manifest.identity
    assert identity is not None, "objects of a cluster have a kind and a name"
    if identity.kind in (RESTORE, RUN) and _named(identity, document) <= shelved.read.keys():
        return  # they clash with nothing
    others = dict(_around(identity, manifest, shelved))
    known = {each.document.path: each for each in (*others.values(), manifest)}
    came = [_document(raw) for other, raw in found.items() if other not in others]

    def read(one: Document) -> Manifest:
        return known[one.path] if one.path in known else read_manifest(one)

    documents = [*(each.document for each in known.values()), *came]
    files = [ManifestFile(one.path, (one,)) for one in sorted(documents, key=lambda one: one.path)]
    for problem in resolve(files, shelved.good, read).desired.problems:
        if problem.object == document.path:
            yield problem


def _around(
    identity: Identity, manifest: Manifest, shelved: Shelved
) -> Iterator[tuple[Identity, Manifest]]:
    """Yield the others that could have to do with an object: to look at all would take long."""
    kinds = _AGREES_WITH.get(identity.kind, ())
    ids: set[str] = set()
    if isinstance(manifest.spec, JobSpec):
        ids = _ids_of(manifest.spec.job(identity))
    for other, one in shelved.manifests.items():
        good = shelved.good.get(other)
        job = good.value if good is not None else None
        shares_id = isinstance(job, Job) and bool(ids & _ids_of(job))
        if other != identity and (other.kind in kinds or shares_id):
            yield other, one


def _ids_of(job: Job) -> set[str]:
    return {job.id, *(schedule.id for schedule in job.schedules)}
