"""The bytes of one file to its documents, with every mistake at its place.

A file is split at its `---` lines before any of it is parsed, so a document that is not YAML
hides none of the others; what object it is about is guessed from its text. Limits come first:
whatever the file, the answer is a ManifestFile, soon, and never an exception.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.desired.document import (
    DEFAULT_NAMESPACE,
    BrokenDocument,
    Document,
    Identity,
    ManifestFile,
    MappingNode,
    Mark,
    Node,
    ScalarNode,
    SequenceNode,
)
from reconciler.desired.manifest import KINDS
from reconciler.desired.problems import Problem
from reconciler.desired.source_text import (
    REFERENCE_FIELDS,
    SourceText,
    names_secret,
    refers_to_secret,
)
from reconciler.ids import UUID
from reconciler.sources.only_in_clusters import kubernetes_secrets
from reconciler.sources.yaml_tree import Refused, Tree, compose
from reconciler.sources.yaml_words import in_words

FILE_BYTES_MAX = 2 * 1024 * 1024  # five hundred jobs are a quarter of that
DOCUMENTS_MAX = 2_000
LINE_MAX = 64 * 1024  # characters; the scanner takes the square of it for some lines

_BREAK = re.compile(r"\r\n|\n|\r")
_MARKER = re.compile(r"(---|\.\.\.)(?:[ \t]|$)")
_CONTENT = re.compile(r"\s*[^\s#]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))

_KIND = re.compile(r"^kind:[ \t]*[\"']?([A-Za-z]{1,64})", re.MULTILINE)
_METADATA = re.compile(r"^metadata:(.*(?:\n(?:[ \t].*)?)*)", re.MULTILINE)
_NAME = re.compile(r"(?:^|[\s{,])name:[ \t]*[\"']?([a-z0-9.-]{1,253})", re.MULTILINE)
_NAMESPACE = re.compile(r"(?:^|[\s{,])namespace:[ \t]*[\"']?([a-z0-9-]{1,63})", re.MULTILINE)
_JOB_ID = re.compile(rf"(?:^|[\s{{,])jobId:[ \t]*[\"']?({UUID.pattern})", re.MULTILINE)


def parse_file(path: str, content: bytes) -> ManifestFile:
    """Read a file's content; path: as the user knows it."""
    if len(content) > FILE_BYTES_MAX:
        limit = f"{FILE_BYTES_MAX // 1024 // 1024} MiB"
        return _refused(path, f"the file is larger than {limit}", "split it into several files")
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _refused(path, f"the file is in {encoding}", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _not_utf8(path, content, error.start)
    return _Parser(path, text).parse()


def _refused(path: str, message: str, hint: str) -> ManifestFile:
    return ManifestFile(path, problems=(Problem(path, 0, 0, message, hint),))


def _not_utf8(path: str, content: bytes, offset: int) -> ManifestFile:
    before = content[:offset].decode("utf-8", "replace")
    lines = _BREAK.split(before)
    problem = Problem(
        path,
        len(lines),
        len(lines[-1]) + 1,
        f"the byte 0x{content[offset]:02x} is not UTF-8",
        "save the file as UTF-8",
    )
    return ManifestFile(path, problems=(problem,))


@dataclass(frozen=True, slots=True)
class _Part:
    """The text of one document and the line of the file it begins at."""

    text: str
    line: int


class _Parser:
    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text
        self._lines = _BREAK.split(text)
        self._source = SourceText(self._lines)

    def parse(self) -> ManifestFile:
        if not self._text.strip():
            return ManifestFile(self._path, blank=True)
        documents: list[Document] = []
        broken: list[BrokenDocument] = []
        warnings: list[Problem] = []
        for count, part in enumerate(self._parts()):
            if count == DOCUMENTS_MAX:
                message = f"more than {DOCUMENTS_MAX} documents in one file"
                problem = Problem(self._path, part.line, 1, message, "split it into several files")
                return ManifestFile(
                    self._path, tuple(documents), tuple(broken), problems=(problem,)
                )
            try:
                document = self._document(part)
            except Refused as refused:
                broken.append(self._broken(part, refused))
            else:
                documents += [document] if document else []
                warnings += kubernetes_secrets(document) if document else ()
        return ManifestFile(self._path, tuple(documents), tuple(broken), warnings=tuple(warnings))

    def _parts(self) -> Iterator[_Part]:
        """Split at `---` and `...`, which YAML reserves at the beginning of a line everywhere."""
        start = 0
        for number, line in enumerate(self._lines):
            marker = _MARKER.match(line)
            if marker is None:
                continue
            yield from self._part(start, number)
            start = number if marker[1] == "---" else number + 1
        yield from self._part(start, len(self._lines))

    def _part(self, start: int, end: int) -> Iterator[_Part]:
        lines = self._lines[start:end]
        for index, line in enumerate(lines):
            if line.startswith("%"):  # a directive: %YAML 1.2 says nothing new, %TAG is of no use
                lines[index] = ""
            elif _CONTENT.match(line.removeprefix("---") if index == 0 else line):
                yield _Part("\n".join(lines) + "\n", start + 1)
                return

    def _document(self, part: _Part) -> Document | None:
        """Parse one document; None for one without content. Raises Refused."""
        for line, text in enumerate(part.text.split("\n"), part.line):
            if len(text) > LINE_MAX:
                message = f"the line is longer than {LINE_MAX} characters"
                raise Refused(Mark(line, 1), message, "break it")
        unprintable = _UNPRINTABLE.search(part.text)
        if unprintable:
            before = part.text[: unprintable.start()]
            raise Refused(
                Mark(part.line + before.count("\n"), len(before) - before.rfind("\n")),
                f"the control character U+{ord(unprintable[0]):04X} cannot stand in YAML",
                "remove it; in double quotes, it can be written as an escape",
            )
        tree = compose(part.text, part.line)
        if tree.root is None or (isinstance(tree.root, ScalarNode) and tree.root.value is None):
            return None
        if not isinstance(tree.root, MappingNode):
            raise Refused(
                tree.root.mark,
                "a document must be a mapping",
                "begin with apiVersion: and kind:",
            )
        self._hide_secrets(tree, tree.root, secret=False)
        problems = tuple(
            self._problem(mistake.mark, mistake.message, mistake.hint) for mistake in tree.mistakes
        )
        return Document(self._path, tree.root, problems, self._source)

    def _hide_secrets(self, tree: Tree, node: Node, *, secret: bool, within: str = "") -> None:
        """Tell the source text which of its lines must not be shown, anchors followed."""
        match node:
            case ScalarNode(value, mark):
                if secret and value is not None:
                    last = tree.last_lines.get((mark.line, mark.column), mark.line)
                    self._source.hide(mark.line, mark.column, last)
            case SequenceNode(items):
                for item in items:
                    self._hide_secrets(tree, item, secret=secret)
            case MappingNode(entries):
                for entry in entries:
                    inner = secret or names_secret(entry.key)
                    # A value where a reference should be, or a field that no reference has.
                    inner |= refers_to_secret(entry.key) and isinstance(entry.value, ScalarNode)
                    inner |= refers_to_secret(within) and entry.key not in REFERENCE_FIELDS
                    self._hide_secrets(tree, entry.value, secret=inner, within=entry.key)

    def _broken(self, part: _Part, refused: Refused) -> BrokenDocument:
        message, hint = refused.message, refused.hint
        if refused.complaint:
            message, hint = in_words(refused.complaint)
        identity = _guess_identity(part.text)
        problem = self._problem(refused.mark, message, hint, str(identity or ""))
        pinned = _JOB_ID.search(part.text)
        return BrokenDocument(identity, problem, pinned[1] if pinned else None)

    def _problem(self, mark: Mark, message: str, hint: str, subject: str = "") -> Problem:
        return Problem(
            self._path,
            mark.line,
            mark.column,
            message,
            hint,
            self._source.excerpt(mark.line, mark.column),
            mark.length,
            subject,
        )


def _guess_identity(text: str) -> Identity | None:
    """Read kind and name off a text that is not YAML, as a person would."""
    kind, metadata = _KIND.search(text), _METADATA.search(text)
    name = _NAME.search(metadata[1]) if metadata else None
    if kind is None or kind[1] not in KINDS or metadata is None or name is None:
        return None
    namespace = _NAMESPACE.search(metadata[1])
    return Identity(kind[1], namespace[1] if namespace else DEFAULT_NAMESPACE, name[1])
