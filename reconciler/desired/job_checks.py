"""What a job's manifest gets wrong beside its types: names, references, fields of other modes.

Read from the document and not from the checked spec, so that one mistake hides no other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from reconciler.desired.document import Document, MappingNode, Path, ScalarNode, SequenceNode
from reconciler.desired.job import JobSpec
from reconciler.desired.state import JobMode
from reconciler.desired.wording import quoted

_MODES = tuple(JobMode)
_OF_ONE_MODE = (  # settings, and what says nothing in the others
    ("compression", JobMode.FULL, "None"),
    ("keyBackupEvery", JobMode.INCREMENTAL, "0"),
)
_CALLED: tuple[tuple[str, ...], ...] = (  # the first that is given
    ("name",),
    ("remoteRef", "name"),
    ("srRef", "name"),
    ("srRef", "uuid"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say about a field. key: about its name rather than its value."""

    path: Path
    message: str
    hint: str = ""
    key: bool = False


@dataclass(frozen=True, slots=True)
class NameRead:
    """A name as it stands in the text, and where."""

    name: str
    path: Path


def pool_references(document: Document) -> list[NameRead]:
    return _names(document, "poolRefs", "name")


def remote_references(document: Document) -> list[NameRead]:
    return _names(document, "targets", "remoteRef", "name")


def sr_pool_references(document: Document) -> list[NameRead]:
    return _names(document, "targets", "srRef", "poolRef", "name")


def repeated_names(document: Document) -> Iterator[Finding]:
    """Find what is listed twice: schedules, targets, pools; and a place under two names."""
    for part, names in (
        ("schedules", _names(document, "schedules", "name")),
        ("targets", target_names(document)),
        ("poolRefs", pool_references(document)),
    ):
        yield from _repeated(names, f"spec.{part}")
    called = {read.path[2]: read.name for read in target_names(document)}
    first: dict[tuple[str, ...], str | int] = {}
    for index, place in _places(document):
        before = first.setdefault(place, index)
        if before != index and called.get(index) != called.get(before):
            yield Finding(
                ("spec", "targets", index),
                f"spec.targets[{index}] is the same place as spec.targets[{before}]",
                "one target is enough: schedules may name it as often as they like",
                key=True,
            )


def unknown_names(document: Document) -> Iterator[Finding]:
    """Find schedules that name targets, and selectors that name pools, which are not listed."""
    targets = [read.name for read in target_names(document)]
    for index in range(_length(document, ("spec", "schedules"))):
        path: Path = ("spec", "schedules", index, "targets")
        named = _texts(document, path)
        yield from _repeated(named, f"spec.schedules[{index}].targets")
        for read in named:
            if read.name not in targets:
                message = f"there is no target {quoted(read.name)} in spec.targets"
                yield Finding(read.path, message, _meant(read.name, targets, "targets"))
    pools = [read.name for read in pool_references(document)]
    for read in _texts(document, ("spec", "selector", "pools")):
        if read.name not in pools:
            message = f"there is no pool {quoted(read.name)} in spec.poolRefs"
            yield Finding(read.path, message, _meant(read.name, pools, "pools"))


def misfits(document: Document) -> Iterator[Finding]:
    """Find what is right by itself and has no place in the job's mode, or among its pools."""
    mode = _text(document, ("spec", "mode")) or JobMode.INCREMENTAL
    if mode == JobMode.SNAPSHOT and _length(document, ("spec", "targets")):
        yield Finding(
            ("spec", "targets"),
            "spec.targets has no place in mode Snapshot: nothing leaves the pool",
            "remove it, or choose mode Incremental or Full",
            key=True,
        )
    elif mode in (JobMode.INCREMENTAL, JobMode.FULL):
        yield from _no_targets(document)
    for field, right, nothing in _OF_ONE_MODE:
        path: Path = ("spec", "settings", field)
        if mode in _MODES and mode != right and _scalar(document, path) not in ("", nothing):
            message = f"spec.settings.{field} is for mode {right}"
            yield Finding(path, message, f"remove it, or choose mode {right}", key=True)
    memory: Path = ("spec", "settings", "consistency")
    if mode in (JobMode.INCREMENTAL, JobMode.FULL) and _text(document, memory) == "Memory":
        yield Finding(
            memory,
            f"memory stays on the pool: no restore point of mode {mode} has it",
            "choose mode Snapshot, or consistency: Offline",
        )
    yield from _srs_of_no_pool(document)


def _no_targets(document: Document) -> Iterator[Finding]:
    spec = document.node(("spec",))
    if not isinstance(spec, MappingNode):
        return
    targets = spec.entry("targets")
    known = {field.alias for field in JobSpec.model_fields.values()}
    if targets is None and any(entry.key not in known for entry in spec.entries):
        return  # perhaps they stand there under another name, which is reported
    if targets is None or targets.value == SequenceNode((), targets.value.mark):
        yield Finding(
            ("spec", "targets"),
            f"spec.targets is {'empty' if targets else 'missing'}",
            "name at least one; for snapshots alone, write mode: Snapshot",
            key=True,
        )


def _srs_of_no_pool(document: Document) -> Iterator[Finding]:
    pools = pool_references(document)
    for read in _names(document, "targets", "srRef", "uuid"):
        if len(pools) > 1 and document.node((*read.path[:-1], "poolRef")) is None:
            yield Finding(
                read.path,
                "a uuid is of an SR of one pool, and the job has several",
                f"add poolRef: {{name: {pools[0].name}}}, or give the name that it has in each",
            )


def oddities(spec: JobSpec) -> Iterator[Finding]:
    """Find what is right and perhaps not meant."""
    yield from _retention_oddities(spec)
    settings = spec.settings
    if settings.slow_destination.action == "Detach" and len(spec.targets) < 2:
        yield Finding(
            ("spec", "settings", "slowDestination"),
            "a single target holds up nobody: it is never detached",
            "remove slowDestination, or give a stall timeout",
            key=True,
        )
    if settings.key_backup_every and not any(one.remote_ref for one in spec.targets):
        yield Finding(
            ("spec", "settings", "keyBackupEvery"),
            "counts points on remotes, and the job has no remote: a replica is one VM, brought up"
            " to date each time",
            "remove it",
            key=True,
        )
    if spec.verification and not any(one.remote_ref for one in spec.targets):
        yield Finding(
            ("spec", "verification"),
            "reads points on remotes, and the job has no remote: a replica is tried by starting it",
            "remove it",
            key=True,
        )
    if settings.consistency == "Memory" and spec.selector.exclude_disks:
        yield Finding(
            ("spec", "selector", "excludeDisks"),
            "a snapshot with memory takes all disks, also those left out here",
            "without them, its memory would be worth nothing",
            key=True,
        )


def _retention_oddities(spec: JobSpec) -> Iterator[Finding]:
    """Find what is right and perhaps not meant: nothing is ever pruned, or rules nobody uses."""
    bare = [index for index, schedule in enumerate(spec.schedules) if schedule.retention is None]
    if spec.retention is None:
        for index in bare:
            name = quoted(spec.schedules[index].name)
            yield Finding(
                ("spec", "schedules", index, "name"),
                f"no retention: every restore point of schedule {name} is kept",
                "to prune, for example retention: {last: 7, weekly: 4}",
            )
    elif not bare:
        message = "spec.retention is not used: every schedule has its own"
        yield Finding(("spec", "retention"), message, "remove it", key=True)


def target_names(document: Document) -> list[NameRead]:
    """Read how targets are called, given or taken from what they point to."""
    reads: list[NameRead] = []
    for index in range(_length(document, ("spec", "targets"))):
        here: Path = ("spec", "targets", index)
        for steps in _CALLED:
            name = _text(document, here + steps)
            if name is not None:
                reads.append(NameRead(name, here + steps))
                break
    return reads


def _places(document: Document) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield where each target leads, as far as that can be told."""
    pools = pool_references(document)
    own = pools[0].name if len(pools) == 1 else ""
    for index in range(_length(document, ("spec", "targets"))):
        here: Path = ("spec", "targets", index)
        remote = _text(document, (*here, "remoteRef", "name"))
        pool = _text(document, (*here, "srRef", "poolRef", "name")) or own
        if remote is not None:
            yield index, ("remote", remote)
        for field in ("uuid", "name"):
            sr = _text(document, (*here, "srRef", field))
            if sr is not None:
                yield index, (field, sr, pool)


def _repeated(names: Iterable[NameRead], where: str) -> Iterator[Finding]:
    first: dict[str, NameRead] = {}
    for read in names:
        before = first.setdefault(read.name, read)
        if before is not read:
            step = next(one for one in reversed(before.path) if isinstance(one, int))
            yield Finding(
                read.path,
                f"{quoted(read.name)} is listed twice in {where}",
                f"{where}[{step}] has it already",
            )


def _meant(name: str, known: Sequence[str], what: str) -> str:
    near = get_close_matches(name[:64], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {quoted(near[0])}?"
    return f"{what} here: {', '.join(known[:8])}" if known else ""


def _names(document: Document, part: str, *steps: str) -> list[NameRead]:
    reads = []
    for index in range(_length(document, ("spec", part))):
        path: Path = ("spec", part, index, *steps)
        name = _text(document, path)
        if name is not None:
            reads.append(NameRead(name, path))
    return reads


def _texts(document: Document, path: Path) -> list[NameRead]:
    found = ((*path, index) for index in range(_length(document, path)))
    return [NameRead(text, one) for one in found if (text := _text(document, one)) is not None]


def _length(document: Document, path: Path) -> int:
    node = document.node(path)
    return len(node.items) if isinstance(node, SequenceNode) else 0


def _text(document: Document, path: Path) -> str | None:
    match document.node(path):
        case ScalarNode(str(text)):
            return text
        case _:
            return None


def _scalar(document: Document, path: Path) -> str:
    match document.node(path):
        case ScalarNode(value) if value is not None:
            return str(value)
        case _:
            return ""
