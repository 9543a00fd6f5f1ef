"""What a job's manifest gets wrong beside its types: names listed twice, references, retention.

Read from the document and not from the checked spec, so that one mistake hides no other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.desired.document import Document, Path, ScalarNode, SequenceNode
from reconciler.desired.job import JobSpec
from reconciler.desired.wording import quoted


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


def repeated_names(document: Document) -> Iterator[Finding]:
    """Find what is listed twice: schedules, targets, pools."""
    schedules = _names(document, "schedules", "name")
    for part, names in (
        ("schedules", schedules),
        ("targets", remote_references(document)),
        ("poolRefs", pool_references(document)),
    ):
        first: dict[str, NameRead] = {}
        for read in names:
            if read.name in first:
                yield Finding(
                    read.path,
                    f"{quoted(read.name)} is listed twice in spec.{part}",
                    f"spec.{part}[{first[read.name].path[2]}] has it already",
                )
            first.setdefault(read.name, read)


def retention_oddities(spec: JobSpec) -> Iterator[Finding]:
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


def _names(document: Document, part: str, *steps: str) -> list[NameRead]:
    node = document.node(("spec", part))
    count = len(node.items) if isinstance(node, SequenceNode) else 0
    reads = []
    for index in range(count):
        path: Path = ("spec", part, index, *steps)
        match document.node(path):
            case ScalarNode(str(name)):
                reads.append(NameRead(name, path))
            case _:
                pass
    return reads
