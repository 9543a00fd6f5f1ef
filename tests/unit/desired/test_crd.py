"""The rules of structural schemas that an API server would reject a definition for."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from reconciler.desired.crd import render_crds
from reconciler.desired.manifest import KINDS
from reconciler.desired.protected_vm import ProtectedVmSpec

SPECS = {**KINDS, "ProtectedVM": ProtectedVmSpec}  # which only the operator writes
RENDERED = render_crds()


@cache
def definition(name: str) -> dict[str, Any]:
    read: dict[str, Any] = YAML(typ="safe", pure=True).load(RENDERED[name])
    return read


def definitions() -> list[dict[str, Any]]:
    return [definition(name) for name in RENDERED]


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    yield node
    for inner in (*node.get("properties", {}).values(), *filter(None, [node.get("items")])):
        yield from schemas(inner)


def test_every_kind_has_one() -> None:
    assert {crd["spec"]["names"]["kind"] for crd in definitions()} == set(SPECS)


@pytest.mark.parametrize("name", RENDERED)
class TestDefinition:
    def test_names_agree(self, name: str) -> None:
        spec = definition(name)["spec"]
        assert definition(name)["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
        assert name == f"{spec['group']}_{spec['names']['plural']}.yaml"
        assert spec["names"]["categories"] == ["backup"]
        assert spec["names"]["shortNames"]

    def test_the_schema_is_structural(self, name: str) -> None:
        (version,) = definition(name)["spec"]["versions"]
        for schema in schemas(version["schema"]["openAPIV3Schema"]):
            assert "type" in schema
            assert not {"$ref", "$defs", "anyOf", "oneOf", "const", "title"} & set(schema)
            assert not ("properties" in schema and "additionalProperties" in schema)
            assert set(schema.get("required", ())) <= set(schema.get("properties", ()))
            assert schema["type"] != "array" or "items" in schema
            if "default" in schema and schema["type"] == "object":
                assert set(schema["default"]) <= set(schema["properties"])

    def test_status_is_a_subresource_and_columns_lead_somewhere(self, name: str) -> None:
        (version,) = definition(name)["spec"]["versions"]
        assert version["subresources"] == {"status": {}}
        columns = {column["name"]: column for column in version["additionalPrinterColumns"]}
        assert {"Ready", "Status", "Age"} <= set(columns)
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        for column in columns.values():
            head, *steps = column["jsonPath"].removeprefix(".").split(".")
            node = properties[head]
            for step in () if head in ("status", "metadata") else steps:
                node = node["properties"][step]


def test_what_a_manifest_may_say_the_definition_knows() -> None:
    for crd in definitions():
        kind = crd["spec"]["names"]["kind"]
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        fields = {field.alias for field in SPECS[kind].model_fields.values()}
        assert set(schema["properties"]) == fields


@pytest.mark.parametrize("name", RENDERED)
def test_every_field_says_what_it_is(name: str) -> None:
    (version,) = definition(name)["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    silent = [
        path
        for part in ("spec", "status")
        for path, field in fields(properties[part], part)
        if not field.get("description")
    ]
    assert not silent


@pytest.mark.parametrize("kind", SPECS)
def test_a_server_fills_in_what_a_file_means(kind: str) -> None:
    """What is absent and what the definition's defaults say of it is the same to us."""
    found = [crd for crd in definitions() if crd["spec"]["names"]["kind"] == kind]
    schema = found[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    defaults = {
        alias: field["default"]
        for alias, field in schema["properties"].items()
        if "default" in field
    }
    for name, field in SPECS[kind].model_fields.items():
        if field.alias in defaults:
            assert not field.is_required()
            reader = TypeAdapter(Annotated[field.annotation, "", *field.metadata])
            filled = reader.validate_json(json.dumps(filled_in(schema, field.alias)))
            assert filled == field.get_default(), name


def filled_in(schema: dict[str, Any], name: str) -> Any:
    """What a server makes of a field that is absent: its default, and in that, those below it."""
    field = schema["properties"][name]
    if field["type"] != "object":
        return field["default"]
    below = field["properties"]
    return field["default"] | {
        key: filled_in(field, key) for key in below if "default" in below[key]
    }


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}[]")
