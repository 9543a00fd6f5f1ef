"""One YAML document to a tree with marks: bounded, and deaf to everything YAML can do but data.

ruamel's scanner and parser read the text (they are iterative, so no nesting overflows the stack);
the tree is built here from their events, because here is where a hostile document has to be
stopped: aliases are counted by what they expand to, depth and size have limits, and tags make
nothing. Plain scalars follow YAML 1.2's core schema: `yes`, `on`, `12:30` and dates are text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.main import YAML

from reconciler.desired.document import Entry, MappingNode, Mark, Node, ScalarNode, SequenceNode

DEPTH_MAX = 40  # a BackupJob needs six
NODES_MAX = 50_000  # of one document, aliases expanded

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_STRING_TAG = "tag:yaml.org,2002:str"


class Refused(Exception):
    """The document cannot be used as a whole.

    complaint: what the scanner says, instead of a message; it may quote the text.
    """

    def __init__(
        self, mark: Mark, message: str = "", hint: str = "", *, complaint: str = ""
    ) -> None:
        super().__init__(message or complaint)
        self.mark = mark
        self.message = message
        self.hint = hint
        self.complaint = complaint


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in a document that is understood but not accepted."""

    mark: Mark
    message: str
    hint: str = ""


@dataclass(slots=True)
class Tree:
    """root: None for a document without content. last_lines: of scalars of several lines."""

    root: Node | None
    mistakes: list[Mistake]
    last_lines: dict[tuple[int, int], int]


def compose(text: str, first_line: int) -> Tree:
    """Read one document that starts at `first_line` of its file.

    Raises Refused for what has no meaning or goes past a limit.
    """
    return _Composer(first_line).compose(text)


@dataclass(slots=True)
class _Frame:
    """A collection that is being read. key: of a mapping, once it is known and waits for a value.

    size, height: nodes in it so far and how deep they nest, aliases expanded.
    """

    is_mapping: bool
    mark: Mark
    anchor: str | None
    size: int = 1
    height: int = 1
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Entry] = field(default_factory=list)
    key: tuple[str, Mark, bool] | None = None


class _Composer:
    def __init__(self, first_line: int) -> None:
        self._first_line = first_line
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._tree = Tree(None, [], {})
        self._nodes = 0

    def compose(self, text: str) -> Tree:
        for event in self._events(text):
            match event:
                case AliasEvent():
                    self._alias(event)
                case ScalarEvent():
                    self._scalar(event)
                case MappingStartEvent() | SequenceStartEvent():
                    self._open(event)
                case MappingEndEvent() | SequenceEndEvent():
                    self._close()
                case _:
                    pass
        return self._tree

    def _events(self, text: str) -> Iterator[Event]:
        documents = 0
        try:
            for event in YAML(typ="safe", pure=True, plug_ins=[]).parse(text):
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    assert documents == 1, "the caller splits a file into its documents"
                yield event
        except MarkedYAMLError as error:
            raise self._syntax(error) from error
        except (YAMLError, ValueError, OverflowError, IndexError, AttributeError) as error:
            # Not documented, and seen from ruamel on garbage: the text is wrong, not we.
            raise Refused(Mark(self._first_line, 1), complaint=str(error)) from error

    def _syntax(self, error: MarkedYAMLError) -> Refused:
        # Of a quote that never ends, what helps is where it began.
        begun = "unexpected end of stream" in str(error.problem)
        found = (error.context_mark if begun else None) or error.problem_mark or error.context_mark
        line, column = (found.line, found.column) if found is not None else (0, 0)
        mark = Mark(self._first_line + line, column + 1)
        return Refused(mark, complaint=str(error.problem or error))

    # ── nodes ──

    def _mark(self, event: Event) -> Mark:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Mark(self._first_line + start.line, start.column + 1, max(1, length))

    def _scalar(self, event: ScalarEvent) -> None:
        mark = self._mark(event)
        frame = self._stack[-1] if self._stack else None
        unwanted = _UNWANTED.search(event.value)
        if unwanted:
            self._mistake(mark, f"the control character U+{ord(unwanted[0]):04X} is not accepted")
        if frame is not None and frame.is_mapping and frame.key is None:
            self._key(frame, event, mark)
            return
        last = self._first_line + event.end_mark.line
        if last > mark.line:
            self._tree.last_lines[mark.line, mark.column] = last
        node = ScalarNode(self._value(event, mark), mark)
        self._anchor(event.anchor, node, 1, 0)
        self._add(node, 1, 0)

    def _value(self, event: ScalarEvent, mark: Mark) -> bool | int | float | str | None:
        text: str = event.value
        if event.tag is not None and event.tag not in (_STRING_TAG, "!"):
            self._mistake(mark, "tags are not supported", "write plain values, quoted if text")
            return text
        if event.tag is not None or event.style is not None:
            return _UNWANTED.sub("\ufffd", text)
        return _resolved(text)

    def _key(self, frame: _Frame, event: ScalarEvent, mark: Mark) -> None:
        if event.value == "" and event.style is None:
            raise Refused(mark, "a field without a name")
        if event.anchor is not None:
            raise Refused(mark, "anchors on names of fields are not supported")
        frame.key = (event.value, mark, event.style is None and event.value == "<<")

    def _alias(self, event: AliasEvent) -> None:
        mark = self._mark(event)
        if any(frame.anchor == event.anchor for frame in self._stack):
            raise Refused(mark, "an alias to what it stands in", "an anchor cannot contain itself")
        if event.anchor not in self._anchors:
            raise Refused(
                mark,
                "an alias without an anchor",  # its name may be the beginning of a password
                "anchors hold within one document; quote text that begins with *",
            )
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.is_mapping and frame.key is None:
            raise Refused(mark, "aliases as names of fields are not supported")
        self._add(*self._anchors[event.anchor])

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        mark = self._mark(event)
        if self._stack and self._stack[-1].is_mapping and self._stack[-1].key is None:
            raise Refused(mark, "the name of a field must be plain text", "quote {{ templates }}")
        if len(self._stack) >= DEPTH_MAX:
            raise Refused(mark, f"nested more than {DEPTH_MAX} deep")
        if event.tag is not None:
            self._mistake(mark, "tags are not supported", "write plain mappings and lists")
        is_mapping = isinstance(event, MappingStartEvent)
        self._stack.append(_Frame(is_mapping, mark, event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        node: Node
        if frame.is_mapping:
            merged = {entry.key: entry for entry in reversed(frame.merged)}
            node = MappingNode(tuple({**merged, **frame.entries}.values()), frame.mark)
        else:
            node = SequenceNode(tuple(frame.items), frame.mark)
        self._anchor(frame.anchor, node, frame.size, frame.height)
        self._add(node, frame.size, frame.height)

    def _anchor(self, anchor: str | None, node: Node, size: int, height: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)

    def _add(self, node: Node, size: int, height: int) -> None:
        """Hand a finished node to the collection it stands in."""
        if not self._stack:
            self._tree.root = node
            return
        frame = self._stack[-1]
        frame.size += size
        frame.height = max(frame.height, height + 1)
        if len(self._stack) + height > DEPTH_MAX:
            raise Refused(frame.mark, f"nested more than {DEPTH_MAX} deep, aliases expanded")
        if frame.size > NODES_MAX:
            raise Refused(
                frame.mark,
                f"more than {NODES_MAX} values in one document",
                "split it with --- lines; aliases count as often as they are used",
            )
        if not frame.is_mapping:
            frame.items.append(node)
            return
        assert frame.key is not None, "a mapping's values follow its keys"
        key, mark, merge = frame.key
        frame.key = None
        if merge:
            self._merge(frame, node, mark)
        elif key in frame.entries:
            first = frame.entries[key].mark
            self._mistake(
                mark,
                f'the field "{key[:60]}" is given twice',
                f"the first is in line {first.line}; remove one of them",
            )
        else:
            frame.entries[key] = Entry(key, node, mark)

    def _merge(self, frame: _Frame, node: Node, mark: Mark) -> None:
        sources = node.items if isinstance(node, SequenceNode) else (node,)
        for source in sources:
            if isinstance(source, MappingNode):
                frame.merged.extend(source.entries)
            else:
                self._mistake(mark, "<< merges mappings only", "write <<: *anchor")

    def _mistake(self, mark: Mark, message: str, hint: str = "") -> None:
        self._tree.mistakes.append(Mistake(mark, message, hint))


def _resolved(text: str) -> bool | int | float | str | None:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text) and isfinite(float(text)):
        return float(text)
    return text
