"""The rules of a model's attributes: what suits one, and what is frozen."""

from collections.abc import Iterator
from typing import Any

from crd_rule_cases import MODEL, NOTHING, Case, Spec, changed
from model_stories import attribute, categories


def attribute_cases() -> Iterator[Case]:
    """Every case of this group."""
    yield from _attributes()
    yield from _attribute()


def _attributes() -> Iterator[Case]:
    kind, path = "MonitoredModel", ".spec.attributes"
    first = changed(MODEL, attributes__0__label="Age in years", attributes__2__categories__0__label="women")
    extra = attribute("x", "FLOAT", "PIPELINE_INPUT", 9)
    swapped = [MODEL["attributes"][1], MODEL["attributes"][0], *MODEL["attributes"][2:]]
    yield Case(
        kind,
        path,
        "attributes cannot be added, removed, renamed or reordered",
        (first, changed(MODEL, attributes__2__sensitivity="hash")),
        (
            MODEL | {"attributes": [*MODEL["attributes"], extra]},
            MODEL | {"attributes": MODEL["attributes"][:-1]},
            MODEL | {"attributes": swapped},
            changed(MODEL, attributes__0__name="years"),
        ),
        before=MODEL,
    )
    frozen = "only labels and sensitivity of an attribute can be changed"
    for says, change in {
        "valueType": {"attributes__1__valueType": "INTEGER"},
        "stage": {"attributes__1__stage": "NON_INPUT_DATA"},
        "position": {"attributes__1__position": 7},
        "categorical": {"attributes__1__categorical": True},
        "minRange": {"attributes__1__minRange": 1},
        "maxRange": {"attributes__1__maxRange": NOTHING},
        "monitorForBias": {"attributes__2__monitorForBias": False},
        "bins": {"attributes__0__bins__0__continuousEnd": 31},
        "isUnique": {"attributes__1__isUnique": False},
        "isPositivePredictedAttribute": {"attributes__4__isPositivePredictedAttribute": True},
        "attributeLink": {"attributes__5__attributeLink": NOTHING},
        "tokenAttributeLink": {"attributes__4__tokenAttributeLink": "g"},
        "gtClassLink": {"attributes__4__gtClassLink": "1"},
        "implicit": {"attributes__5__implicit": True},
        "the values of categories": {"attributes__2__categories__1__value": "d"},
    }.items():
        yield Case(
            kind, path, frozen, (first,), (changed(MODEL, **change),), before=MODEL,
            says=f"{says} of an attribute cannot be changed",
        )  # fmt: skip
    more = changed(MODEL, attributes__2__categories=[{"value": "f"}, {"value": "m"}, {"value": "d"}])
    gone = changed(MODEL, attributes__2__categories=NOTHING)
    yield Case(kind, path, frozen, (first,), (more, gone), before=MODEL, says="the values of categories")
    # Writing out what absence means changes nothing.
    quiet = changed(
        MODEL,
        attributes__1={"name": "fare", "valueType": "FLOAT", "stage": "PIPELINE_INPUT"},
    )
    spoken = changed(
        MODEL, attributes__1=attribute("fare", "FLOAT", "PIPELINE_INPUT", 1) | {"bins": [], "categories": []}
    )
    del spoken["attributes"][1]["position"]
    yield Case(
        kind,
        path,
        frozen,
        (spoken,),
        (changed(quiet, attributes__1__position=1),),
        before=quiet,
        says="position",
    )


def _attribute() -> Iterator[Case]:
    kind, path = "MonitoredModel", ".spec.attributes[]"

    def one(**fields: Any) -> Spec:
        return MODEL | {
            "attributes": [attribute("x", "FLOAT", "PIPELINE_INPUT", 8) | fields, *MODEL["attributes"]]
        }

    yield Case(
        kind,
        path,
        "name is reserved",
        (one(name="batch"), one(name="_x")),
        (one(name="batch_id"), one(name="partner_inference_id"), one(name="__index_level_0__")),
    )
    bins = {"bins": [{"continuousEnd": 1}]}
    yield Case(
        kind,
        path,
        "an attribute has categories or bins, not both",
        (one(**bins, categories=[]), one(**categories("1"), bins=[])),
        (one(**bins, **categories("1")),),
    )
    yield Case(
        kind,
        path,
        "minRange must not be greater than maxRange",
        (one(minRange=1, maxRange=1), one(minRange=1), one(maxRange=1)),
        (one(minRange=1.5, maxRange=1),),
    )
    yield Case(
        kind,
        path,
        "a number that is not categorical needs bins",
        (one(monitorForBias=True, **bins), one(monitorForBias=True, categorical=True)),
        (one(monitorForBias=True), one(monitorForBias=True, bins=[], valueType="INTEGER")),
    )
    yield Case(
        kind,
        path,
        "only STRING attributes can be hashed",
        (one(valueType="STRING", sensitivity="hash"), one(sensitivity="mask"), one(sensitivity="drop")),
        (one(sensitivity="hash"),),
    )
    yield Case(
        kind,
        f"{path}.bins",
        "a bin needs continuousStart, continuousEnd or both",
        (one(**bins), one(bins=[{"continuousStart": 1}])),
        (one(bins=[{}]),),
    )
    yield Case(
        kind,
        f"{path}.bins",
        "continuousStart of a bin must be less",
        (one(bins=[{"continuousStart": 0, "continuousEnd": 1}]),),
        (one(bins=[{"continuousStart": 1, "continuousEnd": 1}]),),
    )
