"""The lines of a manifest as far as they may be shown to a person: without secrets.

A problem shows the line it stands on. That line, or one beside it, may hold a password that
somebody wrote inline, misspelt, or put where a reference belongs; problems go to terminals, logs
and status pages. So every excerpt passes here: what looks like a secret's value is cut off, and
where the caret would stand in what was cut, nothing is shown. It works on text, because it must
work where YAML could not be parsed; `hide` adds what only the parsed tree can know.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_WORDS = ("pass", "pwd", "secret", "token", "credential", "apikey", "privatekey")
REFERENCE_FIELDS = (
    "env",
    "file",
    "secretRef",
    "name",
    "key",
)  # of a reference; none of them is a secret
_REFERENCES = ("from", "ref", "env", "file", "name")
_OF_A_KEY = re.compile(rf"(.*key)({'|'.join(_REFERENCES)})?")  # spec.encryption.keyFrom
_KEY = re.compile(r"""["']?([\w./-]+)["']?\s*:(?=\s|$)\s*""")
_KEY_LINE = re.compile(r"""^\s*(?:-\s+|\?\s+)*["']?([\w./-]+)["']?\s*:(?:\s|$)""")
_USERINFO = re.compile(r"://[^/@\s]*@")
_LINES_BACK_MAX = 400
_LINE_MAX = 400  # characters; a longer line is not for reading, and costs in every problem

HIDDEN = "***"


def names_secret(key: str) -> bool:
    """Say whether the value of a field of this name is likely to be a secret itself."""
    plain = _plain(key)
    return _speaks_of_secret(plain) and not plain.endswith(_REFERENCES)


def refers_to_secret(key: str) -> bool:
    """Say whether a field of this name should hold a *reference* to a secret, as a mapping."""
    plain = _plain(key)
    return _speaks_of_secret(plain) and plain.endswith(_REFERENCES)


def without_userinfo(text: str) -> str:
    """Hide user and password of URLs."""
    return _USERINFO.sub(f"://{HIDDEN}@", text)


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key[:64].casefold())


def _speaks_of_secret(plain: str) -> bool:
    if any(word in plain for word in _WORDS) or _OF_A_KEY.fullmatch(plain):
        return True
    return SequenceMatcher(None, plain, "password").ratio() >= 0.75


class SourceText:
    """Lines of one file, counted from 1, and what of them is hidden."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self._lines = lines
        self._hidden_from: dict[int, int] = {}  # line → first hidden column, from 1

    def hide(self, line: int, column: int, last_line: int) -> None:
        """Hide from a column of `line` up to the end of `last_line`."""
        for hidden in range(line, last_line + 1):
            start = column if hidden == line else 1
            self._hidden_from[hidden] = min(start, self._hidden_from.get(hidden, start))

    def excerpt(self, line: int, column: int = 1) -> str:
        """Return a line to put a caret under at `column`; "" if it cannot be shown."""
        if not 1 <= line <= len(self._lines) or len(self._lines[line - 1]) > _LINE_MAX:
            return ""
        if self._continues_secret(line):
            return ""
        text = self._lines[line - 1]
        cut = min(self._hidden_from.get(line, len(text) + 1) - 1, _secret_start(text))
        if cut < len(text):
            # Behind the cut a caret would point into what is hidden, and tell its length.
            return text[:cut] + HIDDEN if column - 1 <= cut else ""
        match = _USERINFO.search(text)
        if match is not None and column - 1 > match.start():
            return ""
        return without_userinfo(text)

    def _continues_secret(self, line: int) -> bool:
        """Look upwards for the field that this line belongs to, by indentation and shape."""
        text = self._lines[line - 1]
        indent = _indent(text)
        own = _KEY_LINE.match(text)
        inside = own is None  # a line of a longer text, or of a list
        suspect = own is None or own[1] not in REFERENCE_FIELDS
        for above in self._lines[max(0, line - 1 - _LINES_BACK_MAX) : line - 1][::-1]:
            if not above.strip() or above.lstrip().startswith("#"):
                continue
            match = _KEY_LINE.match(above[:_LINE_MAX])
            if match is None:
                continue
            if _indent(above) < indent or inside:
                if names_secret(match[1]) or (suspect and refers_to_secret(match[1])):
                    return True
                suspect = False
                indent = min(indent, _indent(above))
                inside = False
            if not indent:
                break
        return False


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" \t"))


def _secret_start(text: str) -> int:
    """Find where in a line the first secret's value begins; its length if there is none."""
    for match in _KEY.finditer(text):
        rest = text[match.end() :]
        if not rest or rest.startswith("#"):
            continue
        if names_secret(match[1]) or (refers_to_secret(match[1]) and rest[0] not in "{&"):
            return match.end()
    return len(text)
