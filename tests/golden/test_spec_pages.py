"""docs/spec: tables made from the schemas, so that they say what is accepted and no more; beside
them nothing that is not there, and examples that are right."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from spec_pages import KINDS, OF_THE_OPERATOR, PAGES, all_manifests, manifests_of
from vocabulary import SAYINGS, says

from reconciler.desired.crd import render_crds
from reconciler.desired.envelope import ANNOTATIONS
from reconciler.plan.reasons import Reason
from reconciler.sources.files import ManifestFiles
from reconciler.status.conditions import ConditionType
from reconciler.status.runs import RunState
from reconciler.status.standing import VmState

BLOCK = re.compile(r"(<!-- made by `make golden`: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
Schema = dict[str, Any]


@cache
def definition_of(kind: str) -> Schema:
    (text,) = [text for text in render_crds().values() if f"\n    kind: {kind}\n" in text]
    definition: Schema = YAML(typ="safe").load(text)["spec"]
    return definition


def schema_of(kind: str) -> Schema:
    (version,) = definition_of(kind)["versions"]
    properties: Schema = version["schema"]["openAPIV3Schema"]["properties"]
    return properties


# ── what is made ──────────────────────────────────────────────────────────────────────────────────


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema, Schema, bool]]:
    """Every field: its path, what it is (of a list: what it is of), itself, and if it must be."""
    required = set(schema.get("required", []))
    for name, field in schema.get("properties", {}).items():
        is_list = field.get("type") == "array"
        inner = field.get("items", field) if is_list else field
        here = f"{path}.{name}" + ("[]" if is_list else "")
        yield here, inner, field, name in required
        yield from fields(inner, here)


def row(here: str, inner: Schema, field: Schema, required: bool) -> str:
    kind = str(inner.get("type", "object"))
    if "enum" in inner:
        kind = " or ".join(map(str, inner["enum"]))
    default = field.get("default", "required" if required else "")
    default = "" if isinstance(default, dict) else str(default)
    default = default.lower() if kind == "boolean" else default
    text = str(field.get("description") or inner.get("description") or "")
    return f"| `{here}` | {kind} | {default} | {text} |"


def beyond(schema: Schema, path: str) -> Iterator[str]:
    """Say what no single field can. Of a text alone, its mistake tells what would be right."""
    for rule in schema.get("x-kubernetes-validations", []):
        if schema["type"] == "object":
            yield f"- `{path}{rule.get('fieldPath', '')}`: {rule['message']}"
    for here, inner, _, _ in fields(schema, path):
        for rule in inner.get("x-kubernetes-validations", []):
            if inner["type"] == "object":
                yield f"- `{here}{rule.get('fieldPath', '')}`: {rule['message']}"


def spec_block(kind: str) -> Iterator[str]:
    spec = schema_of(kind)["spec"]
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    yield from (row(*each) for each in fields(spec, "spec"))
    refused = list(beyond(spec, "spec"))
    if refused:
        yield "\nRefused, beyond the single fields:\n"
        yield from refused


def status_block(kind: str) -> Iterator[str]:
    yield "| field | type | meaning |\n|---|---|---|"
    for here, inner, field, _ in fields(schema_of(kind)["status"], "status"):
        text = field.get("description") or inner.get("description", "")
        if not here.startswith("status.conditions[]."):  # they are the same everywhere
            yield f"| `{here}` | {inner['type']} | {text} |"


def reasons_block(kind: str) -> Iterator[str]:
    yield "| conditions | when | reasons |\n|---|---|---|"
    for saying in SAYINGS[kind]:
        types = ", ".join(f"`{one}`" for one in saying.types)
        reasons = ", ".join(f"`{one}`" for one in sorted(saying.reasons))
        yield f"| {types} | {saying.when} | {reasons} |"


BLOCKS = {"spec": spec_block, "reasons": reasons_block, "status": status_block}


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_fresh(kind: str, golden: Callable[[Path, str], None]) -> None:
    text = KINDS[kind].read_text(encoding="utf-8")
    assert [match[2] for match in BLOCK.finditer(text)] == list(BLOCKS)

    def made(match: re.Match[str]) -> str:
        return f"{match[1]}{chr(10).join(BLOCKS[match[2]](kind))}\n{match[3]}"

    golden(KINDS[kind], BLOCK.sub(made, text))


def test_there_is_a_page_for_each_kind_and_the_list_of_them_has_it() -> None:
    assert {path.name for path in PAGES.iterdir()} == {
        "README.md",
        *(path.name for path in KINDS.values()),
    }
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    for kind, path in KINDS.items():
        (short,) = definition_of(kind)["names"]["shortNames"]
        assert f"| [{kind}]({path.name}) | `{short}` |" in index


# ── what is written beside it ─────────────────────────────────────────────────────────────────────


def written(path: Path) -> str:
    """A page without what is made."""
    return BLOCK.sub("", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_there_and_every_condition(kind: str) -> None:
    text = written(KINDS[kind])
    parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert parts == ["Example", "Writing the spec", "Working with it", "Status"]
    told = re.findall(r"^\| `(\w+)` \|", text.partition("\n## Status\n")[2], re.MULTILINE)
    assert len(told) == len(set(told))
    assert set(told) == {type_.value for type_, _ in says(kind)}


KNOWN = {
    *ConditionType,
    *Reason,
    *RunState,
    *(f"Run{state}" for state in RunState),
    *VmState,
    *KINDS,
}


@pytest.mark.parametrize("path", [*KINDS.values(), PAGES / "README.md"], ids=lambda path: path.stem)
def test_nothing_is_named_that_is_not_there(path: Path) -> None:
    text = written(path)
    names = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    properties = {kind: schema_of(kind) for kind in KINDS}
    every = [
        field
        for schema in properties.values()
        for part in ("spec", "status")
        for field in fields(schema[part], part)
    ]
    paths = {re.sub(r"\[\]", "", here) for here, _, _, _ in every}
    values = {str(one) for _, inner, _, _ in every for one in inner.get("enum", ())}
    for name in names:
        if re.fullmatch(r"[A-Z]\w+", name):
            assert name in KNOWN | values, f"{path.name}: {name}"
        elif re.fullmatch(r"\.?[a-z]\w*(\.\w+)*", name):
            bare = name.removeprefix(".")
            is_field = any(f".{one}".endswith(f".{bare}") for one in paths)
            assert is_field or bare in WORDS, f"{path.name}: {name}"
        elif (found := re.fullmatch(r"(\w+): (\w+)", name)) is not None:
            assert any(one.endswith(f".{found[1]}") for one in paths), f"{path.name}: {name}"
    for annotation in re.findall(r"backup\.reconciler\.io/[a-z][a-z-]+", text):
        assert annotation in ANNOTATIONS, f"{path.name}: {annotation}"


WORDS = {"backup", "default", "approve", "protection", "xpool", "bremote", "bj", "br", "rst", "pvm"}
"""A category, a namespace, a verb of roles, a field of the command line's JSON; kubectl's names."""


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_shown_is_right_put_together(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(all_manifests())
    desired = ManifestFiles([str(tmp_path)]).read()
    assert desired.problems == ()
    for warning in desired.warnings:
        assert "there are no Kubernetes secrets" in warning.message or "skipped" in warning.message
    assert len(desired.pools) == len(desired.jobs) == len(desired.restores) == 1
    assert len(desired.remotes) == 2
    assert len(desired.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_is_of_the_kind_and_says_nothing_unknown(kind: str) -> None:
    shown = [one for text in manifests_of(kind) for one in YAML(typ="safe").load_all(text)]
    assert kind in {one["kind"] for one in shown} <= {kind, "Secret"}
    for one in shown:
        check_known(one.get("status", {}), schema_of(kind)["status"], "status")
        for condition in one.get("status", {}).get("conditions", ()):
            said = ConditionType(condition["type"]), Reason(condition["reason"])
            assert said in says(kind)


def check_known(value: Any, schema: Schema, path: str) -> None:
    """A server keeps what it does not know of a status, so that this is the one who looks."""
    if isinstance(value, list):
        for each in value:
            check_known(each, schema["items"], path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            assert key in schema["properties"], f"{path}.{key}"
            check_known(inner, schema["properties"][key], f"{path}.{key}")


def test_no_file_holds_what_the_operator_writes(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(manifests_of(OF_THE_OPERATOR)[0])
    problems = ManifestFiles([str(tmp_path)]).read().problems
    assert "kind ProtectedVM is not supported yet" in {one.message for one in problems}
