"""What is counted of a model follows from its attributes, its settings and its reference."""

import numpy as np
import pyarrow as pa
import pytest

from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.monitoring import Segment
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.query.performance.wanted import MAX_A_ROW, MAX_CODES, WantedOutcomes


def attribute(name, value_type, stage, position=0, **more):
    return {"name": name, "valueType": value_type, "stage": stage, "position": position, **more}


TOWN = attribute("town", "STRING", "PIPELINE_INPUT", monitorForBias=True, categorical=True)
NUMBER = [
    TOWN,
    attribute("guess", "FLOAT", "PREDICTED_VALUE", attributeLink="y"),
    attribute("y", "FLOAT", "GROUND_TRUTH", attributeLink="guess"),
]


class Given:
    """Settings and a profile that a test may change."""

    def __init__(self, attributes, output="REGRESSION"):
        self.identity = CellIdentity.model_validate(
            {"namespace": "n", "name": "m", "modelId": "x", "outputType": output, "attributes": attributes}
        )
        self.classifier_threshold = 0.5
        self.segments: tuple[Segment, ...] = ()
        self.hash: str | None = None
        self.loads = 0

    @property
    def monitoring(self):
        return self

    def load(self, _hash):
        self.loads += 1
        data = {"town": pa.array(["rome", "oslo"] * 50), "y": pa.array(np.linspace(10.0, 20.0, 100))}
        columns = [
            Column("town", "STRING", "PIPELINE_INPUT", categorical=True),
            Column("y", "FLOAT", "GROUND_TRUTH"),
        ]
        found = tuple(profile_column(c, lambda c=c: [data[c.name]]) for c in columns)
        return ReferenceProfile("c", 100, found)

    def wanted(self):
        names = frozenset(a.name for a in self.identity.attributes if a.stage != "GROUND_TRUTH")
        return WantedOutcomes(self.identity, names, lambda: self, lambda: self.hash, self.load)


def test_a_regression_is_counted_from_its_reference_on_and_stays_so_without():
    given = Given(NUMBER)
    wanted = given.wanted()
    assert wanted.definition() is None
    given.hash = "a"
    first = wanted.definition()
    assert (first.groups[0].names, first.scale is not None) == (("oslo", "rome"), True)
    given.hash = None
    assert wanted.definition() is first
    assert given.loads == 1


def test_a_segment_that_cannot_be_counted_is_told_and_the_others_are_counted():
    given = Given(NUMBER)
    given.hash = "a"
    where = {"comparator": "eq", "values": ["rome"]}
    given.segments = tuple(
        Segment.model_validate({"name": name, "where": [{"attribute": name, **where}]})
        for name in ("town", "y")
    )
    wanted = given.wanted()
    assert [segment.name for segment in wanted.definition().segments] == ["town"]
    assert "y is no attribute that comes with an inference" in wanted.refused["y"]


@pytest.mark.parametrize("output", ["RANKED_LIST", "TOKEN_SEQUENCE", "OBJECT_DETECTION"])
def test_an_output_of_another_kind_is_not_counted(output):
    assert Given(NUMBER, output).wanted().definition() is None


def test_of_very_many_classes_groups_are_left_out_before_memory_is():
    many = [str(n) for n in range(100)]
    attributes = [
        *({**TOWN, "name": f"g{n}", "position": n, "categories": many} for n in range(12)),
        *(attribute(f"p{n}", "FLOAT", "PREDICTED_VALUE", n, gtClassLink=str(n)) for n in range(100)),
        attribute("kind", "STRING", "GROUND_TRUTH_CLASS", categorical=True, categories=many),
    ]
    definition = Given(attributes, "MULTICLASS").wanted().definition()
    from modelwarden_server.analysis.performance.layout import OutcomeSpace

    assert 0 < len(definition.groups) < 12
    assert OutcomeSpace(definition).size <= MAX_CODES


def test_of_many_labels_groups_are_left_out_before_sums_are_larger_than_rows():
    attributes = [
        *({**TOWN, "name": f"g{n}", "position": n, "categories": ["a", "b"]} for n in range(6)),
        *(attribute(f"p{n}", "FLOAT", "PREDICTED_VALUE", n, attributeLink=f"y{n}") for n in range(12)),
        *(attribute(f"y{n}", "INTEGER", "GROUND_TRUTH", n, attributeLink=f"p{n}") for n in range(12)),
    ]
    definition = Given(attributes, "MULTILABEL").wanted().definition()
    assert [rule.attribute for rule in definition.groups] == ["g0", "g1", "g2", "g3"]
    assert (1 + len(definition.groups)) * 12 == MAX_A_ROW
