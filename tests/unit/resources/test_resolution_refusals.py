"""Attributes that do not fit together are refused by name: which attribute, which field."""

from typing import Any

import pytest
from model_stories import (
    INPUTS,
    STORIES,
    Attribute,
    Spec,
    attribute,
    categories,
    class_column,
    prediction,
    truth,
)

from modelwarden.resources.attributes import RESERVED_NAMES
from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.resolution import SchemaError, resolve_attributes

AGE = INPUTS[0]
PAIR = [prediction("p", 0, attributeLink="g"), truth("g", 0, attributeLink="p")]


def refusals(spec: Spec) -> list[tuple[str, str]]:
    """(attribute, field) of every problem."""
    with pytest.raises(SchemaError) as caught:
        resolve_attributes(MonitoredModelSpec.model_validate(spec))
    return [(problem.attribute, problem.field) for problem in caught.value.problems]


def classifier(*attributes: Attribute, **more: Any) -> Spec:
    return {"inputType": "TABULAR", "outputType": "MULTICLASS", "attributes": list(attributes)} | more


def changed(story: str, name: str, **fields: Any) -> Spec:
    """The story with one attribute's fields changed; None removes a field."""
    attributes = [
        {key: value for key, value in (a | fields).items() if value is not None} if a["name"] == name else a
        for a in STORIES[story]["attributes"]
    ]
    return STORIES[story] | {"attributes": attributes}


@pytest.mark.parametrize("name", [*RESERVED_NAMES, "__index_level_0__", "__x", "Batch_ID"])
def test_a_reserved_name_is_refused(name: str) -> None:
    assert refusals(classifier(attribute(name, "FLOAT", "PIPELINE_INPUT", 0), *PAIR)) == [(name, "name")]


@pytest.mark.parametrize("second", ["age", "AGE"])
def test_a_name_that_is_there_already_is_refused_even_in_other_case(second: str) -> None:
    again = attribute(second, "FLOAT", "PIPELINE_INPUT", 9)
    assert refusals(classifier(AGE, again, *PAIR)) == [(second, "name")]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"minRange": 2, "maxRange": 1}, "minRange"),
        ({"categories": [{"value": "1"}]}, "categories"),
        ({"categorical": True, "categories": [{"value": "one"}]}, "categories"),
        ({"categorical": True, "categories": [{"value": "1.5"}]}, "categories"),
        ({"categorical": True, "categories": [{"value": "1"}, {"value": "1.0"}]}, "categories"),
        ({"valueType": "BOOLEAN", "categorical": True, "categories": [{"value": "maybe"}]}, "categories"),
        ({"valueType": "FLOAT", "categorical": True, "categories": [{"value": "x"}]}, "categories"),
        ({"monitorForBias": True}, "bins"),
        ({"monitorForBias": True, "valueType": "STRING"}, "categorical"),
        ({"categorical": True, "bins": [{"continuousEnd": 1}]}, "bins"),
        ({"valueType": "STRING", "bins": [{"continuousEnd": 1}]}, "bins"),
        ({"bins": [{}]}, "bins[0]"),
        ({"bins": [{"continuousStart": 2, "continuousEnd": 2}]}, "bins[0]"),
        ({"bins": [{"continuousEnd": 5}, {"continuousStart": 4}]}, "bins[1]"),
        ({"bins": [{"continuousEnd": 5}, {"continuousEnd": 9}]}, "bins[1]"),
        ({"bins": [{"continuousStart": 5}, {"continuousStart": 9}]}, "bins[1]"),
        ({"attributeLink": "g"}, "attributeLink"),
        ({"gtClassLink": "1"}, "gtClassLink"),
        ({"isPositivePredictedAttribute": True}, "isPositivePredictedAttribute"),
        ({"tokenAttributeLink": "g"}, "tokenAttributeLink"),
        ({"implicit": True}, "implicit"),
        ({"sensitivity": "hash"}, "sensitivity"),
    ],
)
def test_a_field_that_does_not_suit_its_attribute_is_refused(fields: dict[str, Any], problem: str) -> None:
    wrong = attribute("x", "INTEGER", "PIPELINE_INPUT", 0) | fields
    assert refusals(classifier(wrong, *PAIR)) == [("x", problem)]


def test_categories_and_bins_together_are_refused() -> None:
    both = attribute("x", "INTEGER", "PIPELINE_INPUT", 0, bins=[{"continuousEnd": 1}], **categories("1"))
    assert ("x", "bins") in refusals(classifier(both, *PAIR))


def test_a_position_given_twice_in_a_stage_is_refused() -> None:
    twin = attribute("x", "FLOAT", "PIPELINE_INPUT", 0)
    assert refusals(classifier(AGE, twin, *PAIR)) == [("x", "position")]


def test_the_same_position_in_input_and_non_input_is_fine() -> None:
    beside = attribute("x", "FLOAT", "NON_INPUT_DATA", 0)
    spec = MonitoredModelSpec.model_validate(classifier(AGE, beside, *PAIR))
    assert [a.position for a in resolve_attributes(spec)[:2]] == [0, 0]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            changed("regression", "price", attributeLink="nobody"),
            [("price", "attributeLink"), ("price", "attributeLink")],
            id="a link to nobody",
        ),
        pytest.param(
            changed("regression", "price", attributeLink="age"),
            [("price", "attributeLink"), ("price", "attributeLink")],
            id="a link to an input",
        ),
        pytest.param(
            changed("regression", "paid", attributeLink=None), [("paid", "attributeLink")], id="not back"
        ),
        pytest.param(
            changed("regression", "price", attributeLink=None),
            [("price", "attributeLink"), ("price", "attributeLink")],
            id="no ground truth",
        ),
        pytest.param(
            changed("token sequence", "answer_tokens", tokenAttributeLink=None),
            [("answer_tokens", "tokenAttributeLink")],
            id="tokens do not link back",
        ),
        pytest.param(
            changed("token sequence", "answer", tokenAttributeLink="nobody"),
            [("answer", "tokenAttributeLink"), ("answer", "tokenAttributeLink")],
            id="tokens of nobody",
        ),
        pytest.param(
            changed("token sequence", "answer", tokenAttributeLink="question"),
            [("answer", "tokenAttributeLink"), ("answer", "tokenAttributeLink")],
            id="text joined to text",
        ),
    ],
)
def test_links_must_go_both_ways_to_the_right_stage(spec: Spec, expected: list[tuple[str, str]]) -> None:
    assert set(refusals(spec)) == set(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(classifier(*PAIR), [("", "attributes")], id="no input"),
        pytest.param(classifier(AGE), [("", "attributes")], id="no prediction"),
        pytest.param(
            classifier(AGE, prediction("p", 0)),
            [("p", "attributeLink")],
            id="a prediction without ground truth",
        ),
        pytest.param(
            classifier(AGE, prediction("p", 0), class_column("c", "STRING", "a", "b")),
            [("p", "gtClassLink")],
            id="a prediction without a class",
        ),
        pytest.param(
            classifier(AGE, prediction("p", 0, gtClassLink="a")), [("p", "gtClassLink")], id="no class column"
        ),
        pytest.param(
            changed("many classes, class column", "p_cat", gtClassLink="cow"),
            [("p_cat", "gtClassLink")],
            id="an unknown class",
        ),
        pytest.param(
            changed("many classes, class column", "p_dog", gtClassLink="cat"),
            [("p_dog", "gtClassLink")],
            id="a class twice",
        ),
        pytest.param(
            changed("two classes, one column, class column", "gt", **categories("0", "1", "2")),
            [("gt", "categories")],
            id="one column for three classes",
        ),
        pytest.param(
            changed("two classes, one column, class column", "gt", categories=[]),
            [("gt", "categories")],
            id="one column for unknown classes",
        ),
        pytest.param(
            changed("two classes, two columns", "p1", isPositivePredictedAttribute=False),
            [("p0", "isPositivePredictedAttribute")],
            id="two columns, none positive",
        ),
        pytest.param(
            changed("two classes, two columns", "p0", isPositivePredictedAttribute=True),
            [("p1", "isPositivePredictedAttribute")],
            id="two columns, both positive",
        ),
        pytest.param(
            changed("the seed", "prediction_1", valueType="STRING"),
            [("prediction_1", "valueType")],
            id="a label",
        ),
        pytest.param(
            changed("the seed", "ground_truth_1", **categories("yes", "no"), valueType="STRING"),
            [("ground_truth_1", "categories")],
            id="a class in the place of 0 and 1",
        ),
        pytest.param(
            changed("regression", "paid", valueType="STRING"), [("paid", "valueType")], id="a price in words"
        ),
        pytest.param(
            changed("two classes, one column, class column", "gt", valueType="FLOAT"),
            [("gt", "valueType")],
            id="classes as fractions",
        ),
    ],
)
def test_outputs_that_do_not_fit_are_refused(spec: Spec, expected: list[tuple[str, str]]) -> None:
    assert refusals(spec) == expected


def test_a_regression_has_one_prediction_and_one_ground_truth() -> None:
    more = [
        attribute("price2", "FLOAT", "PREDICTED_VALUE", 1, attributeLink="paid2"),
        attribute("paid2", "FLOAT", "GROUND_TRUTH", 1, attributeLink="price2"),
    ]
    spec = STORIES["regression"] | {"attributes": [*STORIES["regression"]["attributes"], *more]}
    assert refusals(spec) == [("price2", "stage"), ("paid2", "stage")]


def test_a_second_class_column_is_refused() -> None:
    spec = STORIES["many classes, class column"]
    second = attribute("kind", "STRING", "GROUND_TRUTH_CLASS", 1)
    assert refusals(spec | {"attributes": [*spec["attributes"], second]}) == [("kind", "stage")]


def test_a_class_column_is_for_classes_only() -> None:
    spec = STORIES["several labels at once"]
    column = class_column("kind", "STRING", "a")
    assert refusals(spec | {"attributes": [*spec["attributes"], column]}) == [("kind", "stage")]


def test_a_prediction_of_many_classes_cannot_be_derived() -> None:
    assert refusals(changed("many classes, a column each", "p0", implicit=True)) == [("p0", "implicit")]


def test_a_ground_truth_cannot_be_derived_from_nothing() -> None:
    assert refusals(changed("regression", "paid", implicit=True)) == [("paid", "implicit")]


def test_every_problem_is_named_in_the_order_of_the_attributes() -> None:
    spec = classifier(
        attribute("b", "INTEGER", "PIPELINE_INPUT", 0, minRange=2, maxRange=1),
        attribute("a", "INTEGER", "PIPELINE_INPUT", 0, monitorForBias=True),
        prediction("p", 0),
    )
    found = refusals(spec)
    assert [name for name, _ in found] == ["b", "a", "a", "p"]
    assert set(found) == {("b", "minRange"), ("a", "position"), ("a", "bins"), ("p", "attributeLink")}


def test_a_model_without_attributes_must_serve() -> None:
    assert refusals({}) == [("", "attributes")]


def test_attributes_need_input_and_output_types() -> None:
    assert refusals({"attributes": [AGE, *PAIR]}) == [("", "inputType"), ("", "outputType")]


def test_the_error_says_where_and_what_to_do() -> None:
    with pytest.raises(SchemaError) as caught:
        resolve_attributes(MonitoredModelSpec.model_validate(classifier(AGE, prediction("p", 0))))
    assert str(caught.value).startswith("attribute p, attributeLink: ")
