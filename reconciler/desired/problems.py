"""A mistake in a manifest: what, where, and what to do, as a value."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

PROBLEMS_MAX = 500
"""Of one file: each costs a search for what may be meant, and nobody reads more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. line and column count from 1; 0 where the file as a whole is meant.

    source: the file's text line at `line` and `length`, the marked characters, draw the caret
    line. object: "BackupJob/nightly" where that much could be read. hint: "" if none is known.
    waits: it ends by itself once another object is there, or is mended. field: which, as in
    "spec.schedules[0].cron"; "" for the object as a whole.
    """

    path: str
    line: int
    column: int
    message: str
    hint: str = ""
    source: str = ""
    length: int = 1
    object: str = ""
    waits: bool = False
    field: str = ""


def capped(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort by place; of a file with very many, leave out those that nobody would read."""
    by_path: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_path[problem.path].append(problem)
    few: list[Problem] = []
    for path, found in sorted(by_path.items()):
        found.sort(key=lambda one: (one.line, one.column, one.message))
        few += found[:PROBLEMS_MAX]
        if len(found) > PROBLEMS_MAX:
            few.append(Problem(path, 0, 0, "and more mistakes in this file"))
    return tuple(few)
