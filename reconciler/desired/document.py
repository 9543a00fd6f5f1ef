"""A parsed document that remembers where each of its values stood.

Who parsed it (a file of YAML, later an object of a cluster) and how does not matter here: a tree
of mappings, sequences and scalars, each with its mark, is what `resolve` reads and what problems
point into. A tree without text behind it has marks at line 0.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from reconciler.desired.problems import Problem
from reconciler.desired.source_text import SourceText, refers_to_secret

Path: TypeAlias = tuple[str | int, ...]
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands. line and column count from 1; 0: nowhere. length: characters."""

    line: int = 0
    column: int = 0
    length: int = 1


@dataclass(frozen=True, slots=True)
class ScalarNode:
    value: bool | int | float | str | None
    mark: Mark = Mark()


@dataclass(frozen=True, slots=True)
class SequenceNode:
    items: "tuple[Node, ...]"
    mark: Mark = Mark()


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value` of a mapping. mark: of the key."""

    key: str
    value: "Node"
    mark: Mark = Mark()


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Entries in the order of the text; keys are unique."""

    entries: tuple[Entry, ...]
    mark: Mark = Mark()
    _by_key: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_key", {entry.key: entry for entry in self.entries})

    def entry(self, key: str) -> Entry | None:
        return self._by_key.get(key)


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """Which object: equal identities are the same object, wherever it is written."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.full_name}"

    @property
    def full_name(self) -> str:
        """The name as references and people say it: with its namespace unless that is default."""
        return self.name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{self.name}"

    @classmethod
    def named(cls, kind: str, full_name: str) -> "Identity":
        """Return the object that `full_name` says; the reverse of it."""
        namespace, _, name = full_name.rpartition("/")
        return cls(kind, namespace or DEFAULT_NAMESPACE, name)

    def sibling(self, name: str) -> str:
        """Return the full name of an object of the same namespace."""
        return Identity(self.kind, self.namespace, name).full_name


DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file, parsed. problems: mistakes that YAML forgives and we do not.

    uid, created_at: what a server says of the object; of one in a file, nobody says either.
    """

    path: str
    root: MappingNode
    problems: tuple[Problem, ...] = ()
    text: SourceText = field(default_factory=SourceText, compare=False)
    uid: str = ""
    created_at: datetime | None = None

    def plain(self) -> dict[str, Plain]:
        """Return the values without their marks."""
        plain = plain_of(self.root)
        assert isinstance(plain, dict)
        return plain

    def node(self, path: Path) -> Node | None:
        """Return the node at `path`, None if there is none."""
        node: Node | None = self.root
        for step in path:
            match node:
                case MappingNode():
                    entry = node.entry(str(step))
                    node = entry.value if entry else None
                case SequenceNode(items) if isinstance(step, int) and step < len(items):
                    node = items[step]
                case _:
                    return None
        return node

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return where `path` stands; where it is missing, where it should have been.

        key: mark the field's name instead of its value. What is missing is marked at the name of
        the mapping that lacks it.
        """
        if not path:
            return self.root.entries[0].mark if self.root.entries else self.root.mark
        node = self.node(path[:-1])
        if isinstance(node, MappingNode):
            entry = node.entry(str(path[-1]))
            if entry is not None:
                return entry.mark if key else entry.value.mark
        found = self.node(path)
        return found.mark if found is not None else self.mark(path[:-1], key=True)

    def problem(
        self,
        path: Path,
        message: str,
        hint: str = "",
        *,
        key: bool = False,
        subject: str = "",
        waits: bool = False,
    ) -> Problem:
        """Describe a mistake at `path`."""
        mark = self.mark(path, key=key)
        if not key and any(refers_to_secret(str(step)) for step in path):
            self.text.hide(mark.line, mark.column, mark.line)  # what is wrong there may be a secret
        return Problem(
            path=self.path,
            line=mark.line,
            column=mark.column,
            message=message,
            hint=hint,
            source=self.text.excerpt(mark.line, mark.column),
            length=mark.length,
            object=subject,
            waits=waits,
            field=spell(path),
        )


@dataclass(frozen=True, slots=True)
class BrokenDocument:
    """A document that could not be parsed.

    identity, pinned_job: which object it is and the job id it pins, if that could be recognised.
    """

    identity: Identity | None
    problem: Problem
    pinned_job: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What one file holds, or that it could not be read.

    path: as the user knows it. problems: mistakes that belong to no object; with any, or with a
    broken document, the file may hold objects that are not seen here. warnings: worth a word.
    blank: it has no text at all. unread: nothing is known of what it holds, for a reason that is
    reported elsewhere (the directory it was seen in is gone).
    """

    path: str
    documents: tuple[Document, ...] = ()
    broken: tuple[BrokenDocument, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    blank: bool = False
    unread: bool = False

    @property
    def whole(self) -> bool:
        """Say whether every object of the file is known; of a broken one, nothing is certain."""
        return not (self.unread or self.problems or self.broken)


def spell(path: Path) -> str:
    """Spell a path as people write it: spec.schedules[0].cron."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:60]}" for step in path)
    return text.removeprefix(".")


def plain_of(node: Node) -> Plain:
    match node:
        case ScalarNode(value):
            return value
        case SequenceNode(items):
            return [plain_of(item) for item in items]
        case MappingNode(entries):
            return {entry.key: plain_of(entry.value) for entry in entries}
