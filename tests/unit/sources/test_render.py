import json

from reconciler.desired.problems import Problem
from reconciler.sources.render import render_all, render_json, render_text


def problem(source: str, column: int, length: int = 1, **changes: str) -> Problem:
    fields = {"path": "a.yaml", "message": "it is wrong", **changes}
    return Problem(line=3, column=column, length=length, source=source, **fields)


def caret_column(text: str) -> int:
    return text.splitlines()[2].index("^")


def test_the_four_parts() -> None:
    text = render_text(
        problem("  dayly: 7", 3, 5, object="BackupJob/x", hint='did you mean "daily"?')
    )
    assert text == (
        "a.yaml:3:3: BackupJob/x: it is wrong\n"
        "    3 |   dayly: 7\n"
        "      |   ^^^^^\n"
        '  hint: did you mean "daily"?\n'
    )


def test_a_file_as_a_whole_has_no_line() -> None:
    assert render_text(Problem("a.yaml", 0, 0, "too large", "split it")) == (
        "a.yaml: too large\n  hint: split it\n"
    )


def test_a_warning_says_that_it_is_one() -> None:
    assert render_text(problem("", 1), "warning") == "a.yaml:3:1: warning: it is wrong\n"


def test_wide_and_combining_characters_take_the_columns_they_take() -> None:
    assert caret_column(render_text(problem("日本: x", 5))) == len("    3 | ") + 6
    assert caret_column(render_text(problem("e\u0301: x", 5))) == len("    3 | ") + 3
    assert caret_column(render_text(problem("\t\tx", 3))) == len("    3 | ") + 2


def test_nothing_in_a_file_can_move_the_cursor_or_turn_the_text() -> None:
    text = render_text(
        problem("a\x1b[31m\u202eb", 1, message="no \x1b[2J", path="a\n.yaml", hint="x\r")
    )
    assert not set(text) & {"\x1b", "\u202e", "\r"}
    assert "\\u001b" in text
    assert text.count("\n") == 4


def test_a_long_line_is_cut_around_the_caret() -> None:
    source = "x" * 300 + "HERE" + "y" * 300
    lines = render_text(problem(source, 301, 4)).splitlines()
    assert all(len(line) < 120 for line in lines)
    start = lines[2].index("^")
    assert lines[1][start : start + 4] == "HERE"
    assert lines[1].endswith("…")
    assert "| …" in lines[1]


def test_carets_end_with_the_line() -> None:
    assert render_text(problem("ab", 2, 50)).splitlines()[2].count("^") == 1


def test_many_are_sorted_and_counted() -> None:
    text = render_all(
        [problem("", 1, path="b.yaml"), problem("", 1, path="a.yaml")], [problem("", 2)]
    )
    assert [line for line in text.splitlines() if line] == [
        "a.yaml:3:1: it is wrong",
        "a.yaml:3:2: warning: it is wrong",
        "b.yaml:3:1: it is wrong",
        "2 mistakes and 1 warning in 2 files",
    ]
    assert render_all([]) == ""


def test_programs_get_all_fields() -> None:
    parsed = json.loads(render_json([problem("x", 1)]))
    assert parsed["warnings"] == []
    assert parsed["problems"][0]["line"] == 3
