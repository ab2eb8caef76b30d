"""Models of two classes, of three and of a number, as what is counted of them; and people as rows."""

import numpy as np

from modelwarden.resources.attributes import OutputType
from modelwarden.resources.monitoring import Segment
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.performance.groups import group_rules, segment_rules
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.outcome import outcome_of

INPUTS = [
    {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT", "position": 0, "monitorForBias": True,
     "bins": [{"continuousEnd": 30}, {"continuousStart": 30, "continuousEnd": 60}]},
    {"name": "sex", "valueType": "STRING", "stage": "PIPELINE_INPUT", "position": 1, "monitorForBias": True,
     "categorical": True, "categories": ["f", "m"]},
]  # fmt: skip
BINARY = [
    *INPUTS,
    {"name": "p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 0,
     "isPositivePredictedAttribute": True, "attributeLink": "paid"},
    {"name": "not_p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 1, "implicit": True},
    {"name": "paid", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "position": 0, "attributeLink": "p"},
]  # fmt: skip
CLASSES = [
    *INPUTS,
    *(
        {"name": f"p{c}", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": i, "gtClassLink": c}
        for i, c in enumerate("abc")
    ),
    {"name": "kind", "valueType": "STRING", "stage": "GROUND_TRUTH_CLASS", "position": 0},
]
NUMBER = [
    *INPUTS,
    {"name": "guess", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 0, "attributeLink": "y"},
    {"name": "y", "valueType": "FLOAT", "stage": "GROUND_TRUTH", "position": 0, "attributeLink": "guess"},
]
SEGMENTS = [
    Segment.model_validate({"name": "old-men", "where": [
        {"attribute": "age", "comparator": "gte", "values": ["50"]},
        {"attribute": "sex", "values": ["m"]},
    ]})
]  # fmt: skip


def space(attributes, output=OutputType.MULTICLASS, threshold=0.5, scale=None) -> OutcomeSpace:
    resolved = [ResolvedAttribute.model_validate(a) for a in attributes]
    rules, refused = segment_rules(SEGMENTS, resolved, frozenset(a.name for a in resolved))
    assert refused == {}
    return OutcomeSpace(
        Definition(outcome_of(resolved, output), threshold, group_rules(resolved, {}), rules, scale)
    )


def people(rng, n: int) -> dict[str, np.ndarray]:
    sex = rng.choice(np.array(["f", "m", "x", None], dtype=object), n, p=[0.4, 0.4, 0.1, 0.1])
    return {"age": rng.integers(18, 90, n), "sex": sex}
