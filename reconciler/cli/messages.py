"""Messages for people, on stderr: stdout is for data alone.

Knows escaping and colour; never what a message is about.
"""

import os
import sys
from typing import Literal

from reconciler.cli.escape import escape_lines

Tone = Literal["plain", "good", "warning", "error"]

_STYLES: dict[Tone, str] = {
    "plain": "",
    "good": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
}
_PREFIXES: dict[Tone, str] = {"plain": "", "good": "", "warning": "warning: ", "error": "error: "}


def coloured(stream: object) -> bool:
    """Whether colour is wanted there: a terminal, and no NO_COLOR (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def say(text: str, tone: Tone = "plain") -> None:
    """Write a message to stderr. Text from outside may be in it: it is escaped here."""
    stream = sys.stderr
    first, newline, rest = escape_lines(text).partition("\n")
    prefix = _PREFIXES[tone]
    if prefix and coloured(stream):
        prefix = f"{_STYLES[tone]}{prefix}\x1b[0m"
    elif coloured(stream) and _STYLES[tone]:
        first = f"{_STYLES[tone]}{first}\x1b[0m"
    stream.write(f"{prefix}{first}{newline}{rest}\n")
    stream.flush()
