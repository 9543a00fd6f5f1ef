"""Manifests to Desired: all of them together, all mistakes at once, nothing lost by a mistake.

Each object is in force in its newest version that is right. A version with mistakes, alone or
together with others, leaves the one before it in force (`before` of the call, `good` of its
answer) and protects what it touches: no rule deletes restore points of a job that is faulty, that
may stand in a file nobody can read, or that uses a faulty pool or remote. What is in force always
fits together: a job never names a pool or remote that is not there.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.desired.clashes import Clash, Value, missing_hint, nested_remotes, shared_ids
from reconciler.desired.document import BrokenDocument, Document, Identity, ManifestFile, Path
from reconciler.desired.fitting import fitted, needs_of
from reconciler.desired.identities import job_id
from reconciler.desired.job import JobSpec
from reconciler.desired.job_checks import (
    Finding,
    misfits,
    oddities,
    repeated_names,
    unknown_names,
)
from reconciler.desired.looks import looks_of
from reconciler.desired.manifest import (
    JOB,
    POOL,
    REMOTE,
    RESTORE,
    RUN,
    Manifest,
    read_manifest,
)
from reconciler.desired.pool import PoolSpec
from reconciler.desired.problems import Problem, capped
from reconciler.desired.references import references_of
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.restore import RestoreSpec
from reconciler.desired.run import RunOrder, RunSpec
from reconciler.desired.state import (
    Approval,
    Cancellation,
    Desired,
    Job,
    Pool,
    Remote,
    Restore,
    RunRequest,
)
from reconciler.desired.wording import quoted
from reconciler.ids import JobId


@dataclass(frozen=True, slots=True)
class Good:
    """The last version of an object that was right, and the file it stood in."""

    path: str
    value: Value


@dataclass(frozen=True, slots=True)
class Resolution:
    """desired: what is in force. good: to be handed in with the next reading of the files."""

    desired: Desired
    good: Mapping[Identity, Good] = field(default_factory=dict)


def resolve(
    files: Sequence[ManifestFile],
    before: Mapping[Identity, Good] | None = None,
    read: Callable[[Document], Manifest] = read_manifest,
) -> Resolution:
    """Resolve one reading of all files; `before` is `good` of the reading before it.

    read: `read_manifest`, by somebody who remembers what it said of the same document.
    """
    return _Resolver(files, before or {}, read).resolve()


class _Resolver:
    def __init__(
        self,
        files: Sequence[ManifestFile],
        before: Mapping[Identity, Good],
        read: Callable[[Document], Manifest],
    ) -> None:
        self._files = files
        self._before = before
        self._read_manifest = read
        self._unread = next((file.path for file in files if not file.whole), None)
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._declared: defaultdict[Identity, list[Manifest | BrokenDocument]] = defaultdict(list)
        self._manifests: list[Manifest] = []
        self._faulty: set[Identity] = set()
        self._protected: set[JobId] = set()
        self._force: dict[Identity, Value] = {}
        self._new: dict[Identity, Manifest] = {}  # whose version in force is the one just read

    def resolve(self) -> Resolution:
        self._read()
        self._find_duplicates()
        self._keep_unseen()
        self._doubt_torn_files()
        self._admit(POOL)
        self._admit(REMOTE)
        self._settle_remotes()
        self._check_jobs()
        self._admit(JOB)
        self._settle_jobs()
        for kind in (RESTORE, RUN):
            self._check_orders(kind)
            self._admit(kind)
            self._settle_orders(kind)
        return Resolution(self._desired(), self._good())

    # ── reading ──

    def _read(self) -> None:
        for file in self._files:
            self._problems.extend(file.problems)
            self._warnings.extend(file.warnings)
            for broken in file.broken:
                self._problems.append(broken.problem)
                if broken.identity is not None:
                    self._declared[broken.identity].append(broken)
                    self._fault(broken.identity)
            for document in file.documents:
                manifest = self._read_manifest(document)
                self._problems.extend(manifest.problems)
                self._warnings.extend(manifest.warnings)
                self._manifests.append(manifest)
                if manifest.identity is None:
                    continue
                self._declared[manifest.identity].append(manifest)
                if manifest.spec is None:
                    self._fault(manifest.identity)

    def _fault(self, identity: Identity) -> None:
        """Note that the version just read is not in force, and protect what it touches."""
        self._faulty.add(identity)
        self._new.pop(identity, None)
        if identity.kind != JOB:
            return
        pins = [declared.pinned_job for declared in self._declared.get(identity, ())]
        self._protected |= {job_id(identity, pin) for pin in [*pins, None]}
        good = self._before.get(identity)
        if good is not None and isinstance(good.value, Job):
            self._protected.add(good.value.id)

    def _find_duplicates(self) -> None:
        for identity, declared in self._declared.items():
            if len(declared) < 2:
                continue
            for manifest in declared:
                self._fault(identity)
                if isinstance(manifest, BrokenDocument):
                    continue
                other = next(one for one in declared if one is not manifest)
                self._problem(
                    manifest,
                    ("metadata", "name"),
                    "this object is declared twice",
                    f"it stands in {_place(other)}, too; remove one of them",
                )

    def _keep_unseen(self) -> None:
        """Objects that no file declares any more are gone, unless their file cannot be told."""
        unclear = {file.path for file in self._files if not file.whole}
        # A faulty document under a name not known before may be a known object, renamed badly.
        unclear |= {
            one.document.path
            for one in self._manifests
            if one.spec is None and not one.foreign and one.identity not in self._before
        }
        for file in (one for one in self._files if one.blank):
            held = [str(key) for key, good in self._before.items() if good.path == file.path]
            if held:
                unclear.add(file.path)
                self._problems.append(
                    Problem(
                        file.path,
                        0,
                        0,
                        f"the file is empty; a moment ago it held {', '.join(sorted(held)[:3])}",
                        "to remove its objects, delete the file",
                    )
                )
        for identity, good in self._before.items():
            if identity not in self._declared and good.path in unclear:
                self._fault(identity)

    def _doubt_torn_files(self) -> None:
        """A part that nobody can name may be the rest of the part above it: a `---` too many.

        So what the file says of objects that were good before is not believed, and of those that
        are new, nothing is deleted.
        """
        torn = {
            file.path
            for file in self._files
            if file.problems or any(broken.identity is None for broken in file.broken)
        }
        torn |= {
            one.document.path for one in self._manifests if one.identity is None and not one.foreign
        }
        for manifest in self._manifests:
            if manifest.identity is None or manifest.document.path not in torn:
                continue
            if manifest.identity in self._before:
                self._fault(manifest.identity)
            elif manifest.identity.kind == JOB:
                self._protected.add(job_id(manifest.identity, manifest.pinned_job))

    # ── what is in force ──

    def _admit(self, kind: str) -> None:
        """Put each object's newest version that is right by itself in force."""
        for identity, declared in self._declared.items():
            if identity.kind != kind or identity in self._faulty:
                continue
            (manifest,) = declared
            assert isinstance(manifest, Manifest)
            match manifest.spec:
                case PoolSpec() as spec:
                    self._force[identity] = spec.pool(identity)
                case RemoteSpec() as spec:
                    self._force[identity] = spec.remote(identity)
                case JobSpec() as spec:
                    self._force[identity] = spec.job(identity)
                case RestoreSpec() as spec:
                    self._force[identity] = spec.restore(identity, manifest.document)
                case RunSpec() as spec:
                    self._force[identity] = spec.order(identity, manifest.document)
                case None:
                    raise AssertionError("a manifest without a spec is faulty")
            self._new[identity] = manifest
        for identity in self._faulty:
            if identity.kind == kind and identity in self._before:
                self._force[identity] = self._before[identity].value

    def _step_down(self, identity: Identity) -> None:
        """Take a version out of force that does not fit to others; the one before it returns."""
        was_new = identity in self._new
        self._fault(identity)
        del self._force[identity]
        if was_new and identity in self._before:
            self._force[identity] = self._before[identity].value

    def _settle(self, clashes: Sequence[Clash], hint: str) -> None:
        """New versions give way to old ones; of old ones alone, the last by name does."""
        for clash in clashes:
            manifest = self._new.get(clash.identity)
            if manifest is not None:
                self._problem(manifest, clash.path, clash.message, hint)
        new = {clash.identity for clash in clashes if clash.identity in self._new}
        for identity in new or {max(clash.identity for clash in clashes)}:
            self._step_down(identity)

    def _settle_remotes(self) -> None:
        """No remote may lie in another: what one writes, the other would take for debris."""
        while clashes := nested_remotes(self._force):
            self._settle(clashes, "give each remote a place of its own")

    # ── jobs ──

    def _check_jobs(self) -> None:
        """Look at what jobs name, also at jobs that are faulty already: one mistake hides none."""
        for manifest in self._manifests:
            if manifest.identity is None or manifest.identity.kind != JOB:
                continue
            document = manifest.document
            findings = [*repeated_names(document), *unknown_names(document), *misfits(document)]
            for finding in findings:
                self._find(self._problems, manifest, finding)
            available = self._check_references(manifest, manifest.identity)
            if findings or not available:
                self._fault(manifest.identity)
            if isinstance(manifest.spec, JobSpec):
                for finding in oddities(manifest.spec):
                    self._find(self._warnings, manifest, finding)

    def _check_references(self, manifest: Manifest, owner: Identity) -> bool:
        """Say whether all that is referred to is in force; report what is not even declared."""
        reported = {(one.line, one.column) for one in manifest.problems}
        available = True
        for kind, read in references_of(owner.kind, manifest.document):
            wanted = Identity(kind, owner.namespace, read.name)
            available &= wanted in self._force
            if wanted in self._force or wanted in self._declared or wanted in self._faulty:
                continue
            mark = manifest.document.mark(read.path)
            if (mark.line, mark.column) not in reported or not mark.line:
                hint = missing_hint(wanted, self._declared, self._unread)
                missing = f"there is no {kind} {quoted(read.name)}"
                self._problem(manifest, read.path, missing, hint, waits=True)
        return available

    def _settle_jobs(self) -> None:
        """Fit jobs to the pools and remotes in force, and tell apart those with one id."""
        while clashes := shared_ids(self._force):
            self._settle(clashes, "an id tells whose a restore point is; give each its own")
        for identity, value in list(self._force.items()):
            if isinstance(value, Job):
                self._fit(identity, value)

    def _fit(self, identity: Identity, job: Job) -> None:
        """Put what is left of a job in force; one of which nothing is left keeps its points."""
        left = fitted(identity, job, self._force.__contains__)
        if left is not None:
            self._force[identity] = left
        else:
            self._protected.add(job.id)
            del self._force[identity]
        if any(need in self._faulty for need in needs_of(identity, job)):
            self._protected.add(job.id)

    # ── restores and runs ──

    def _check_orders(self, kind: str) -> None:
        for manifest in self._manifests:
            identity = manifest.identity
            if identity is None or identity.kind != kind:
                continue
            if not self._check_references(manifest, identity):
                self._fault(identity)
            if isinstance(manifest.spec, RunSpec) and manifest.spec.time(manifest.document) is None:
                hint = "for example at: 2026-01-31T02:00:00Z"
                self._problem(manifest, ("spec", "at"), "spec.at is missing", hint)
                self._fault(identity)

    def _settle_orders(self, kind: str) -> None:
        """Take out of force, also of what was right before, what refers to nothing any more."""
        for identity, value in list(self._force.items()):
            needs = needs_of(identity, value) if identity.kind == kind else []
            if any(need not in self._force for need in needs):
                del self._force[identity]

    # ── answers ──

    def _problem(
        self, manifest: Manifest, path: Path, message: str, hint: str = "", *, waits: bool = False
    ) -> None:
        subject = str(manifest.identity or "")
        found = manifest.document.problem(path, message, hint, subject=subject, waits=waits)
        self._problems.append(found)

    def _find(self, among: list[Problem], manifest: Manifest, finding: Finding) -> None:
        subject = str(manifest.identity or "")
        found = manifest.document.problem(
            finding.path, finding.message, finding.hint, key=finding.key, subject=subject
        )
        among.append(found)

    def _desired(self) -> Desired:
        values = [value for _, value in sorted(self._force.items())]
        new = [(self._force[identity], one) for identity, one in sorted(self._new.items())]
        jobs = [(value, manifest) for value, manifest in new if isinstance(value, Job)]
        orders = [value for value in values if isinstance(value, RunOrder)]
        return Desired(
            pools={value.name: value for value in values if isinstance(value, Pool)},
            remotes={value.name: value for value in values if isinstance(value, Remote)},
            jobs={value.name: value for value in values if isinstance(value, Job)},
            problems=capped(self._problems),
            warnings=capped(self._warnings),
            restores={value.name: value for value in values if isinstance(value, Restore)},
            requests=(
                *(RunRequest(job.name, one.run_at) for job, one in jobs if one.run_at is not None),
                *(order.request for order in orders if order.request is not None),
            ),
            approvals=tuple(Approval(one.approval) for _, one in jobs if one.approval),
            cancellations=(
                *(Cancellation(run) for _, one in jobs for run in one.cancelled),
                *(one.cancellation for one in orders if one.cancellation is not None),
            ),
            protected_jobs=frozenset(self._protected),
            looks=tuple(looks_of(self._new, self._force)),
        )

    def _good(self) -> dict[Identity, Good]:
        """Remember new versions that are in force, and old ones of what is faulty."""
        good = {
            identity: self._before[identity]
            for identity in self._faulty
            if identity in self._before
        }
        for identity, manifest in self._new.items():
            if identity in self._force:
                good[identity] = Good(manifest.document.path, self._force[identity])
        return good


def _place(declared: Manifest | BrokenDocument) -> str:
    if isinstance(declared, Manifest):
        return f"{declared.document.path}:{declared.line}"
    return f"{declared.problem.path}:{declared.problem.line}"
