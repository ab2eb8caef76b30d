"""Every object of our kinds that the examples and the documents show is accepted as it is written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from crd_objects import Objects

from modelwarden.resources.meta import API_VERSION
from modelwarden.resources.monitoredmodel import parse
from modelwarden.resources.resolution import resolve_attributes

pytestmark = pytest.mark.api

ROOT = Path(__file__).resolve().parents[3]
FENCE = re.compile(r"^```ya?ml\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FILES = sorted((ROOT / "examples").rglob("*.yaml"))


def texts() -> Iterator[tuple[str, str]]:
    for path in SHOWN:
        for number, found in enumerate(FENCE.finditer(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(ROOT)}#{number}", found[1]
    for path in FILES:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def shown() -> Iterator[Any]:
    for name, text in texts():
        if API_VERSION not in text:
            continue
        for body in yaml.safe_load_all(text):
            if isinstance(body, dict) and body.get("apiVersion") == API_VERSION:
                yield pytest.param(body, id=f"{name} {body['kind']}")


def test_there_are_examples_of_models_and_datasets() -> None:
    kinds = {parameter.values[0]["kind"] for parameter in shown()}
    assert {"MonitoredModel", "ReferenceDataset"} <= kinds


@pytest.mark.parametrize("body", list(shown()))
def test_an_example_is_accepted_as_it_is_written(body: dict[str, Any], objects: Objects) -> None:
    objects.try_creation(body["kind"], body["spec"], body["metadata"]["name"])
    if body["kind"] == "MonitoredModel":
        spec = parse(body, strict=True).spec
        assert resolve_attributes(spec) or spec.serving
