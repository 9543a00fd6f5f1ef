import pytest

from reconciler.desired.document import Entry, MappingNode, Mark, ScalarNode, plain_of
from reconciler.sources.yaml_tree import DEPTH_MAX, NODES_MAX, Refused, compose


def plain(text: str) -> object:
    tree = compose(text, 1)
    assert tree.mistakes == []
    assert tree.root is not None
    return plain_of(tree.root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ('"1"', "1"),
        ("'true'", "true"),
        ("!!str 1", "1"),
        # YAML 1.1 made other things of these; here they are what they look like.
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert plain(f"x: {text}") == {"x": value}


def test_marks_count_from_one_and_from_the_documents_line() -> None:
    tree = compose("a:\n  - b: cc\n", 10)
    assert tree.root is not None
    root = tree.root
    assert isinstance(root, MappingNode)
    assert root.entries[0].mark == Mark(10, 1, 1)
    assert compose("x: yy", 5).root == MappingNode(
        (Entry("x", ScalarNode("yy", Mark(5, 4, 2)), Mark(5, 1, 1)),), Mark(5, 1, 1)
    )


def test_anchors_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{x: 9}, *a]}\n"
    assert plain(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"x": 9, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: *b", 1, 4, "without an anchor"),
        ("a: &a [*a]", 1, 8, "what it stands in"),
        ("a: &a {b: {c: *a}}", 1, 15, "what it stands in"),
        ("? [a]\n: b", 1, 3, "plain text"),
        ("{{ a }}: b", 1, 1, "plain text"),
        (": b", 1, 1, "without a name"),
        ("a: &x k\n*x : b", 2, 1, "names of fields"),
        ("&x a: b", 1, 1, "names of fields"),
        ("[" * (DEPTH_MAX + 1), 1, DEPTH_MAX + 1, "deep"),
        ("a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 20 + "*a" + "]" * 20, 2, 23, "aliases"),
        ("a: [" + "b, " * NODES_MAX + "c]", 1, 4, "values in one document"),
    ],
)
def test_what_cannot_be_used_at_all(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(Refused) as caught:
        compose(text, 1)
    assert (caught.value.mark.line, caught.value.mark.column) == (line, column)
    assert message in caught.value.message


def test_aliases_count_for_what_they_expand_to() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(Refused, match="values in one document"):
        compose("\n".join(lines), 1)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, 1, 'the field "a" is given twice'),
        ("a: !!python/object:os.system x", 1, 4, "tags are not supported"),
        ("a: !custom {b: c}", 1, 4, "tags are not supported"),
        ("a: !!binary aGk=", 1, 4, "tags are not supported"),
        ("a: {<<: b}", 1, 5, "<< merges mappings only"),
        (r'a: "\a"', 1, 4, "U+0007"),
        (r'a: "\0"', 1, 4, "U+0000"),
        (r'a: "\ud800"', 1, 4, "U+D800"),
        (r'a: "\e[31m"', 1, 4, "U+001B"),
    ],
)
def test_what_is_understood_and_not_accepted(
    text: str, line: int, column: int, message: str
) -> None:
    (mistake,) = compose(text, 1).mistakes
    assert (mistake.mark.line, mistake.mark.column) == (line, column)
    assert message in mistake.message


def test_the_first_of_two_equal_fields_stands() -> None:
    tree = compose("a: 1\na: 2", 1)
    assert tree.root is not None
    assert plain_of(tree.root) == {"a": 1}


def test_nothing_is_no_document() -> None:
    assert compose("# only a comment\n", 1).root is None


def test_scalars_of_several_lines_are_known() -> None:
    assert compose('a: "b\n  c"\n', 1).last_lines == {(1, 4): 2}
