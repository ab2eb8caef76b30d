"""Every CEL rule of our kinds, against a real API server: what it accepts, what it refuses, what it says."""

from collections.abc import Iterator
from typing import Any

import pytest
from crd_objects import Objects, definitions
from crd_rule_cases import DATASET, MODEL, Case
from crd_rules_of_attributes import attribute_cases
from crd_rules_of_dependents import dependent_cases
from crd_rules_of_models import model_cases
from crd_rules_of_storage import storage_cases

from testbed.api_client import ApiError

pytestmark = pytest.mark.api

CASES = [*model_cases(), *storage_cases(), *attribute_cases(), *dependent_cases()]
BASE = {
    "MonitoredModel": MODEL,
    "ReferenceDataset": DATASET,
    "Enrichment": {"modelRef": {"name": "m"}, "type": "Hotspots"},
}


def rules() -> Iterator[tuple[str, str, str]]:
    """(kind, path, message) of every rule in the definitions."""

    def walk(node: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        for rule in node.get("x-kubernetes-validations", ()):
            yield path, rule["message"]
        for name, child in node.get("properties", {}).items():
            yield from walk(child, f"{path}.{name}")
        if "items" in node:
            yield from walk(node["items"], f"{path}[]")
        if isinstance(node.get("additionalProperties"), dict):
            yield from walk(node["additionalProperties"], f"{path}{{}}")

    for body in definitions():
        schema = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for path, message in walk(schema, ""):
            yield body["spec"]["names"]["kind"], path, message


def cases_of(kind: str, path: str, message: str) -> list[Case]:
    return [c for c in CASES if (c.kind, c.path) == (kind, path) and message.startswith(c.rule)]


def test_every_rule_has_an_accepted_and_a_refused_object() -> None:
    untested = []
    for rule in rules():
        found = cases_of(*rule)
        if not any(c.accepted for c in found) or not any(c.refused for c in found):
            untested.append(rule)
    assert untested == []


def test_every_case_belongs_to_one_rule() -> None:
    known = list(rules())
    for case in CASES:
        matching = [r for r in known if r[:2] == (case.kind, case.path) and r[2].startswith(case.rule)]
        assert len(matching) == 1, str(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_accepts_and_refuses_and_says_why(case: Case, objects: Objects) -> None:
    live = None if case.before is None else objects.create(case.kind, case.before)

    def attempt(wanted: Any) -> None:
        if isinstance(wanted, str):
            objects.try_creation(case.kind, BASE[case.kind], wanted)
        elif live is None:
            objects.try_creation(case.kind, wanted)
        else:
            objects.try_update(live, wanted)

    for wanted in case.accepted:
        attempt(wanted)
    for wanted in case.refused:
        with pytest.raises(ApiError) as caught:
            attempt(wanted)
        assert caught.value.status == 422
        assert (case.says or case.rule) in str(caught.value)
