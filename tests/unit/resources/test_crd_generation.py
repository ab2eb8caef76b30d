"""The generated definitions: properties that hold for every node, and that drift is seen."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field

from modelwarden import crdgen
from modelwarden.resources.schema import ResourceModel, Rule, validations

Schema = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
NAMES = [kind.kind for kind, _ in crdgen.KINDS]


@cache
def definition(name: str) -> Schema:
    """Not to be changed: all tests of this process share it."""
    return next(crdgen.definition(kind, model) for kind, model in crdgen.KINDS if kind.kind == name)


@cache
def rendered() -> dict[Path, str]:
    """Not to be changed either."""
    return crdgen.render()


@pytest.fixture
def one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written and compared alike whatever their number."""
    monkeypatch.setattr(
        crdgen, "KINDS", [entry for entry in crdgen.KINDS if entry[0].kind == "ReferenceDataset"]
    )


def root_of(name: str) -> Schema:
    schema: Schema = definition(name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(node.get(part), dict):
            yield from nodes(node[part], f"{path}.{part}")


def everywhere(type_: str | None = None) -> dict[str, Schema]:
    """Every node of every kind, by kind and path; metadata is the API server's own."""
    found = {f"{name}{path}": node for name in NAMES for path, node in nodes(root_of(name), "")}
    return {
        path: node
        for path, node in found.items()
        if not path.endswith(".metadata") and type_ in (None, node["type"])
    }


def test_every_node_has_a_type_and_no_word_that_a_structural_schema_lacks() -> None:
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "const", "title", "uniqueItems", "prefixItems"}
    types = {"object", "array", "string", "integer", "number", "boolean"}
    assert not [p for p, node in everywhere().items() if node["type"] not in types or forbidden & set(node)]


def test_every_string_is_bounded() -> None:
    strings = {p: n for p, n in everywhere("string").items() if not p.endswith((".apiVersion", ".kind"))}
    assert len(strings) > 100
    bounded = {
        p for p, n in strings.items() if {"maxLength", "enum"} & set(n) or n.get("format") == "date-time"
    }
    assert set(strings) - bounded == set()


def test_every_list_is_bounded_and_says_what_kind_of_list_it_is() -> None:
    for path, node in everywhere("array").items():
        assert node.get("maxItems", 0) > 0, path
        assert node["x-kubernetes-list-type"] in {"atomic", "set", "map"}, path
        if node["x-kubernetes-list-type"] == "map":
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path


def test_every_map_is_bounded_in_number_and_keys() -> None:
    maps = {p: n for p, n in everywhere("object").items() if "additionalProperties" in n}
    assert len(maps) == 3
    for path, node in maps.items():
        assert node["maxProperties"] > 0, path
        assert any("key.size()" in rule["rule"] for rule in node["x-kubernetes-validations"]), path


def test_every_field_is_described() -> None:
    fields = {p: n for p, n in everywhere().items() if not p.endswith((".items", ".additionalProperties"))}
    assert not [p for p, n in fields.items() if len(n["description"]) < 10 or "\n" in n["description"]]


def test_an_object_has_properties_or_values_never_both() -> None:
    for path, node in everywhere("object").items():
        assert not ("properties" in node and "additionalProperties" in node), path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path


def test_every_rule_has_a_message_and_points_to_a_field_that_exists() -> None:
    for path, node in everywhere().items():
        for rule in node.get("x-kubernetes-validations", ()):
            assert len(rule["message"]) >= 20, path
            target = node
            for part in [part for part in rule.get("fieldPath", "").split(".") if part]:
                assert part in target["properties"], f"{path}: {rule['fieldPath']}"
                target = target["properties"][part]


def test_a_default_is_no_zero_value_and_holds_no_null() -> None:
    defaults = {path: node["default"] for path, node in everywhere().items() if "default" in node}
    assert len(defaults) > 20
    assert not [
        path for path, default in defaults.items() if not default or "null" in yaml.safe_dump(default)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_spec_is_required_and_the_status_is_a_subresource(name: str) -> None:
    version = definition(name)["spec"]["versions"][0]
    assert root_of(name)["required"] == ["spec"]
    assert version["subresources"] == {"status": {}}
    assert definition(name)["spec"]["names"]["categories"] == ["modelwarden"]


def test_an_attribute_takes_the_sixteen_documented_keys_and_sensitivity() -> None:
    attribute = root_of("MonitoredModel")["properties"]["spec"]["properties"]["attributes"]["items"]
    assert set(attribute["properties"]) == {
        "name", "label", "valueType", "stage", "position", "categorical", "categories", "minRange",
        "maxRange", "monitorForBias", "bins", "isUnique", "isPositivePredictedAttribute", "attributeLink",
        "tokenAttributeLink", "gtClassLink", "implicit", "sensitivity",
    }  # fmt: skip
    assert attribute["required"] == ["name", "stage", "valueType"]


def test_an_attribute_is_stored_as_it_was_written() -> None:
    attribute = root_of("MonitoredModel")["properties"]["spec"]["properties"]["attributes"]["items"]
    assert not [name for name, node in attribute["properties"].items() if "default" in node]


class Inner(ResourceModel):
    """An inner thing."""

    share: float = Field(default=0.5, gt=0, lt=1)
    """A share of something."""


class Outer(ResourceModel):
    """An outer thing."""

    inner: Inner | None = None
    """The inner thing."""
    made: Inner = Inner()
    """One that is made up."""
    word: Literal["only"] = "only"
    """The only word."""
    table: dict[str, int] = Field(default_factory=dict, max_length=3)
    """Numbers by name."""
    many: tuple[Inner, ...] = Field(
        default=(), max_length=2, json_schema_extra=validations(Rule("true", "fine"))
    )
    """Several things."""


def test_references_optionals_constants_and_open_bounds_become_structural() -> None:
    schema = crdgen.structural(Outer)
    inner = {
        "type": "object",
        "description": "The inner thing.",
        "properties": {
            "share": {
                "type": "number",
                "description": "A share of something.",
                "default": 0.5,
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
                "exclusiveMaximum": True,
            }
        },
    }
    assert schema["properties"]["inner"] == inner
    made = inner | {"description": "One that is made up.", "default": {"share": 0.5}}
    assert schema["properties"]["made"] == made
    assert schema["properties"]["word"]["enum"] == ["only"]
    table = schema["properties"]["table"]
    assert table["additionalProperties"] == {"type": "integer", "format": "int64"}
    assert table["maxProperties"] == 3
    assert schema["properties"]["many"]["x-kubernetes-validations"] == [{"rule": "true", "message": "fine"}]
    assert schema["properties"]["many"]["x-kubernetes-list-type"] == "atomic"
    assert "required" not in schema


class Recursive(ResourceModel):
    """Contains itself."""

    again: "Recursive | None" = None


class EitherOr(ResourceModel):
    """A union that has no members' names."""

    value: int | str


class Pair(ResourceModel):
    """A tuple of two kinds."""

    value: tuple[int, str]


@pytest.mark.parametrize("model", [Recursive, EitherOr, Pair])
def test_what_a_structural_schema_cannot_say_is_an_error_that_names_the_place(
    model: type[ResourceModel],
) -> None:
    with pytest.raises(crdgen.UnsupportedSchemaError, match=model.__name__):
        crdgen.structural(model)


def test_the_committed_files_are_what_the_models_say(monkeypatch: pytest.MonkeyPatch) -> None:
    files = rendered()
    monkeypatch.setattr(crdgen, "render", lambda: files)
    assert crdgen.drift(ROOT) == ""


def test_every_kind_has_a_file_and_the_charts_copy_of_it() -> None:
    assert len(rendered()) == 2 * len(NAMES)


@pytest.mark.usefixtures("one_kind")
def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert len(crdgen.write(tmp_path)) == 2
    assert crdgen.write(tmp_path) == []


@pytest.mark.usefixtures("one_kind")
def test_an_edited_a_missing_and_a_stale_file_are_drift_and_are_mended(tmp_path: Path) -> None:
    paths = crdgen.write(tmp_path)
    paths[0].write_text(paths[0].read_text().replace("Namespaced", "Cluster"))
    paths[1].unlink()
    stale = tmp_path / crdgen.CRDS / "old.yaml"
    stale.write_text("old: true\n")
    said: list[str] = []
    assert crdgen.main(["--check", "--root", str(tmp_path)], said.append) == 1
    shown = "".join(said)
    assert "-  scope: Cluster\n+  scope: Namespaced" in shown
    assert str(paths[1].relative_to(tmp_path)) in shown
    assert "-old: true" in shown
    assert crdgen.main(["--root", str(tmp_path)], said.append) == 0
    assert not stale.exists()
    assert crdgen.main(["--check", "--root", str(tmp_path)], said.append) == 0


def test_the_charts_copy_is_the_definition_with_a_switch_and_a_promise_to_stay() -> None:
    files = rendered()
    for path in [path for path in files if path.parent == crdgen.CHART_CRDS]:
        lines = files[path].splitlines()
        assert lines[1] == "{{- if .Values.crds.install }}"
        assert lines[-1] == "{{- end }}"
        body = yaml.load("\n".join(lines[2:-1]), Loader=yaml.CSafeLoader)
        assert body["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert body == yaml.load(files[crdgen.CRDS / path.name], Loader=yaml.CSafeLoader)


def test_a_definition_fits_the_annotation_of_a_client_side_apply() -> None:
    assert max(len(text) for text in rendered().values()) < 262_144
