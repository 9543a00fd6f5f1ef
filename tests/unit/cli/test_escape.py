import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.escape import escape, escape_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-1", "web-1"),
        ("Bücher 東京 😀", "Bücher 東京 😀"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("[red]markup[/red]", "[red]markup[/red]"),
    ],
)
def test_only_characters_that_do_something_are_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(st.characters(codec=None)))
def test_whatever_is_escaped_is_one_line_that_can_be_written(text: str) -> None:
    shown = escape(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    assert escape(shown) == shown


def test_own_line_breaks_stay() -> None:
    assert escape_lines("a\x1b\n  b") == "a\\x1b\n  b"
