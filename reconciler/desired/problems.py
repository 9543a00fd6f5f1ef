"""A mistake in a manifest: what, where, and what to do, as a value."""

from dataclasses import dataclass

PROBLEMS_MAX = 500
"""Of one file: each costs a search for what may be meant, and nobody reads more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. line and column count from 1; 0 where the file as a whole is meant.

    source: the file's text line at `line` and `length`, the marked characters, draw the caret
    line. object: "BackupJob/nightly" where that much could be read. hint: "" if none is known.
    """

    path: str
    line: int
    column: int
    message: str
    hint: str = ""
    source: str = ""
    length: int = 1
    object: str = ""
