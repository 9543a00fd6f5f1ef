import json

import pytest
from ruamel.yaml import YAML

from reconciler.cli.output import Format, list_of, put_json, put_names, table_of, yaml_of

HOSTILE = "web\x1b[2J\n\u202eexe.\ud800 é"


def test_columns_line_up_whatever_the_letters() -> None:
    table = table_of(["NAME", "READY"], [["東京", "True"], ["[red]web", ""]], colour=False)
    assert table == "NAME       READY\n東京       True\n[red]web   -\n"


def test_nothing_is_cut_and_nothing_moves_the_cursor() -> None:
    table = table_of(["NAME"], [["x" * 500], [HOSTILE]], colour=False)
    assert "x" * 500 in table
    assert table.count("\n") == 3
    assert "\x1b" not in table


def test_states_have_colours_without_moving_columns() -> None:
    table = table_of(["READY", "NAME"], [["True", "a"], ["Maybe", "b"]], colour=True)
    assert table == "READY   NAME\n\x1b[32mTrue\x1b[0m    a\nMaybe   b\n"


def test_json_is_ascii_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    put_json(list_of("VmList", [{"name": HOSTILE}]))
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {
        "apiVersion": "backup.reconciler.io/v1alpha1",
        "kind": "VmList",
        "items": [{"name": HOSTILE}],
    }


def test_yaml_is_ascii_ordered_and_whole() -> None:
    content = list_of("VmList", [{"name": "a\x1b\u202e é", "b": [1, None, True], "a": "1"}])
    text = yaml_of(content)
    assert text.isascii()
    assert list(content) == ["apiVersion", "kind", "items"]
    assert text.startswith("apiVersion: backup")
    assert YAML(typ="safe").load(text) == content


def test_yaml_of_enums_and_of_what_is_shared_is_plain() -> None:
    shared = ["a"]
    content = {"how": Format.TABLE, "one": shared, "two": shared}
    assert yaml_of(content) == "how: table\none:\n- a\ntwo:\n- a\n"


def test_names_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    put_names(["a", "b\nc"])
    assert capsys.readouterr().out == "a\nb\\nc\n"
