import pytest

from reconciler.sources.yaml_tree import Refused, compose
from reconciler.sources.yaml_words import in_words


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("a: b: c", 1, 5, "a colon that cannot stand here", "quote text"),
        ("a:\n\t- b", 2, 1, "a tab where", "spaces"),
        ("a: @b", 1, 4, "text cannot begin with @", "quotes"),
        ("a: %b", 1, 4, "text cannot begin with %", "quotes"),
        ("a: 'x\nb: c", 1, 4, "a quote that is opened here", "close it"),
        ("a: - b", 1, 4, "a list item cannot stand here", "line of its own"),
        ("a:\n  b: 1\n c: 2", 3, 2, "does not fit", "same column"),
        ("a: 1\nb\nc: 2", 3, 1, "neither a field", "name: value"),
        ("a: [1, 2", 1, 9, "goes wrong here", "close what is open with ]"),
        ("a: {b: c", 1, 9, "goes wrong here", "close what is open with }"),
        ("a: ]", 1, 4, "a value is missing", ""),
        (r'a: "\q"', 1, 6, "a backslash that means nothing", "single quotes"),
        ("a: |x\n", 1, 5, "nothing can follow", "next line"),
        ("a: !foo!bar b", 1, 4, "tags are not supported", ""),
    ],
)
def test_complaints_in_words(text: str, line: int, column: int, message: str, hint: str) -> None:
    with pytest.raises(Refused) as caught:
        compose(text, 1)
    words = in_words(caught.value.complaint)
    assert message in words[0]
    assert hint in words[1]
    assert (caught.value.mark.line, caught.value.mark.column) == (line, column)


def test_an_unknown_complaint_is_not_repeated() -> None:
    assert in_words("found hunter2 where hunter3 was expected")[0] == "this is not YAML"
