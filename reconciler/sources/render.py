"""Problems as people read them, with the line and a caret under it, and as programs do."""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict

from reconciler.desired.problems import Problem

_WIDTH_MAX = 100  # characters of a source line that are shown
_BEFORE_CARET = 60  # of which before the caret, at most


def render_text(problem: Problem, severity: str = "") -> str:
    """Render one problem: `path:line:column: message`, the line, the caret, the hint.

    severity: "warning", or "" for a mistake.
    """
    parts = [_place(problem), severity, problem.object, problem.message]
    lines = [_printable(": ".join(part for part in parts if part))]
    if problem.source.strip() and problem.line:
        lines += _excerpt(problem)
    if problem.hint:
        lines.append(_printable(f"  hint: {problem.hint}"))
    return "\n".join(lines) + "\n"


def render_all(problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> str:
    """Render many, by place, with an empty line between them; and how many there are."""
    marked = [(problem, "") for problem in problems]
    marked += [(problem, "warning") for problem in warnings]
    marked.sort(key=lambda pair: (pair[0].path, pair[0].line, pair[0].column))
    if not marked:
        return ""
    texts = [render_text(problem, severity) for problem, severity in marked]
    mistakes = sum(1 for _, severity in marked if not severity)
    counts = [_count(mistakes, "mistake"), _count(len(marked) - mistakes, "warning")]
    files = len({problem.path for problem, _ in marked})
    total = " and ".join(count for count in counts if count)
    return "\n".join([*texts, f"{total} in {_count(files, 'file')}\n"])


def render_json(problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> str:
    """Render both lists for programs."""
    return json.dumps(
        {
            "problems": [asdict(problem) for problem in problems],
            "warnings": [asdict(problem) for problem in warnings],
        },
        indent=2,
    )


def _place(problem: Problem) -> str:
    if not problem.line:
        return problem.path
    return f"{problem.path}:{problem.line}:{problem.column}"


def _excerpt(problem: Problem) -> list[str]:
    """Show the line, cut around the caret if it is long, and the caret under it."""
    start = max(0, problem.column - 1 - _BEFORE_CARET) if len(problem.source) > _WIDTH_MAX else 0
    shown = problem.source[start : start + _WIDTH_MAX]
    before = ("…" if start else "") + problem.source[start : problem.column - 1]
    after = "…" if start + _WIDTH_MAX < len(problem.source) else ""
    rest = max(1, len(shown) - (problem.column - 1 - start))
    marked = problem.source[problem.column - 1 : problem.column - 1 + min(problem.length, rest)]
    gutter = f"{problem.line:>5} | "
    return [
        gutter + _printable(("…" if start else "") + shown + after).rstrip(),
        " " * (len(gutter) - 2) + "| " + " " * _columns(before) + "^" * max(1, _columns(marked)),
    ]


def _printable(text: str) -> str:
    """Escape what could move the cursor, hide text or turn its direction; show a tab as →."""
    return "".join(
        character
        if character.isprintable()
        else "→"
        if character == "\t"
        else f"\\u{ord(character):04x}"
        for character in text
    )


def _columns(text: str) -> int:
    """Count the columns of a terminal: East Asian characters take two, combining ones none."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in _printable(text)
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""
