"""What the documented client registers resolves, and to what."""

import pytest
from model_stories import INPUTS, STORIES, Spec, attribute, categories, class_column, prediction, truth

from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.resolution import is_binary_classifier, resolve_attributes
from modelwarden.resources.resolved import ResolvedAttribute


def resolve(spec: Spec) -> dict[str, ResolvedAttribute]:
    return {a.name: a for a in resolve_attributes(MonitoredModelSpec.model_validate(spec))}


def implicit(resolved: dict[str, ResolvedAttribute]) -> set[str]:
    return {a.name for a in resolved.values() if a.implicit}


@pytest.mark.parametrize("story", STORIES)
def test_every_story_resolves_with_its_attributes_first_and_in_order(story: str) -> None:
    declared = [a["name"] for a in STORIES[story]["attributes"]]
    assert list(resolve(STORIES[story]))[: len(declared)] == declared


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("the seed", {"not_prediction_1", "not_ground_truth_1"}),
        ("two classes, one column, class column", {"not_pred", "gt_is_1", "gt_is_0"}),
        (
            "many classes, class column",
            {"species_is_cat", "species_is_dog", "species_is_red_panda"},
        ),
        (
            "many classes, class column without categories",
            {"species_is_cat", "species_is_dog", "species_is_red_panda"},
        ),
        ("two classes, two columns", set()),
        ("many classes, a column each", set()),
        ("two classes, one column, a truth without a prediction", {"not_p"}),
        ("several labels at once", set()),
        ("regression", set()),
        ("token sequence", set()),
        ("ranked list of a time series", set()),
        ("objects in images", set()),
    ],
)
def test_implicit_attributes_are_added_where_others_determine_them(story: str, expected: set[str]) -> None:
    assert implicit(resolve(STORIES[story])) == expected


def test_one_predicted_column_is_positive_and_its_negative_stands_in_the_other_position() -> None:
    resolved = resolve(STORIES["the seed"])
    positive, negative = resolved["prediction_1"], resolved["not_prediction_1"]
    assert (positive.position, negative.position) == (1, 0)
    assert positive.is_positive_predicted_attribute
    assert not negative.is_positive_predicted_attribute


def test_one_predicted_column_is_positive_even_if_nobody_says_so() -> None:
    spec = STORIES["text"]
    quiet = [a | {"isPositivePredictedAttribute": False} for a in spec["attributes"]]
    assert resolve(spec | {"attributes": quiet})["spam"].is_positive_predicted_attribute


def test_the_negative_of_a_column_at_position_0_stands_at_1() -> None:
    assert resolve(STORIES["text"])["not_spam"].position == 1


def test_the_truth_without_a_prediction_is_that_of_the_negative_class() -> None:
    resolved = resolve(STORIES["two classes, one column, a truth without a prediction"])
    assert resolved["not_p"].attribute_link == "g2"
    assert resolved["g2"].attribute_link == "not_p"


def test_each_class_of_a_class_column_gets_its_own_zero_or_one() -> None:
    resolved = resolve(STORIES["many classes, class column"])
    one_hot = resolved["species_is_red_panda"]
    assert one_hot.gt_class_link == "red panda"
    assert one_hot.categories == ("0", "1")
    assert one_hot.attribute_link == "p_panda"
    assert resolved["p_panda"].attribute_link == "species_is_red_panda"


def test_the_negative_of_a_class_column_stands_for_the_other_class() -> None:
    resolved = resolve(STORIES["two classes, one column, class column"])
    assert resolved["not_pred"].gt_class_link == "0"
    assert resolved["not_pred"].attribute_link == "gt_is_0"


def test_whole_floats_among_integer_categories_are_integers() -> None:
    spec = {
        "inputType": "TABULAR",
        "outputType": "MULTICLASS",
        "attributes": [
            *INPUTS,
            class_column("gt", "INTEGER", "1.0", "0.0"),
            prediction("p", 0, gtClassLink="1"),
        ],
    }
    resolved = resolve(spec)
    assert resolved["gt"].categories == ("1", "0")
    assert resolved["not_p"].gt_class_link == "0"


def test_implicit_names_give_way_to_declared_ones() -> None:
    spec = STORIES["two classes, one column, class column"]
    taken = attribute("NOT_PRED", "FLOAT", "NON_INPUT_DATA", 7)
    names = implicit(resolve(spec | {"attributes": [*spec["attributes"], taken]}))
    assert names == {"not_pred_2", "gt_is_1", "gt_is_0"}


def test_classes_whose_names_become_the_same_identifier_are_told_apart() -> None:
    values = ("a b", "a-b", "a_b")
    spec = {
        "inputType": "TABULAR",
        "outputType": "MULTICLASS",
        "attributes": [
            *INPUTS,
            class_column("c", "STRING", *values),
            *(prediction(f"p{i}", i, gtClassLink=value) for i, value in enumerate(values)),
        ],
    }
    assert implicit(resolve(spec)) == {"c_is_a_b", "c_is_a_b_2", "c_is_a_b_3"}


def test_positions_left_out_are_the_free_ones_in_the_order_of_the_list() -> None:
    inputs = [
        {"name": "a", "valueType": "FLOAT", "stage": "PIPELINE_INPUT"},
        {"name": "b", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "position": 0},
        {"name": "c", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "position": 5},
        {"name": "d", "valueType": "FLOAT", "stage": "PIPELINE_INPUT"},
        {"name": "e", "valueType": "FLOAT", "stage": "NON_INPUT_DATA"},
    ]
    resolved = resolve(
        STORIES["regression"] | {"attributes": [*inputs, *STORIES["regression"]["attributes"][-2:]]}
    )
    assert [resolved[name].position for name in "abcde"] == [1, 0, 5, 2, 0]


def test_gaps_in_positions_and_counting_through_are_fine() -> None:
    resolved = resolve(STORIES["the seed"])
    assert resolved["RISK_AMT"].position == 4


def test_labels_are_no_part_of_a_resolved_attribute() -> None:
    spec = STORIES["the seed"]
    labelled = [
        a | {"label": "x", "categories": [c | {"label": "y"} for c in a.get("categories", [])]}
        for a in spec["attributes"]
    ]
    assert resolve(spec) == resolve(spec | {"attributes": labelled})


@pytest.mark.parametrize("story", STORIES)
def test_a_resolved_model_written_out_and_read_again_resolves_to_itself(story: str) -> None:
    spec = MonitoredModelSpec.model_validate(STORIES[story])
    resolved = resolve_attributes(spec)
    written = [
        a.model_dump(mode="json", by_alias=True, exclude_none=True)
        | {"categories": [{"value": value} for value in a.categories]}
        for a in resolved
    ]
    again = MonitoredModelSpec.model_validate(STORIES[story] | {"attributes": written})
    assert resolve_attributes(again) == resolved


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("the seed", True),
        ("two classes, one column, class column", True),
        ("two classes, two columns", True),
        ("many classes, class column", False),
        ("several labels at once", False),
        ("regression", False),
    ],
)
def test_a_model_of_two_classes_is_known_as_one(story: str, expected: bool) -> None:
    spec = MonitoredModelSpec.model_validate(STORIES[story])
    assert is_binary_classifier(resolve_attributes(spec), spec.output_type) is expected


def test_a_model_that_only_serves_has_no_attributes() -> None:
    serving = {"flow": [{"modelType": "SKLEARN", "file": "m.pkl"}], "files": {"upload": {}}}
    assert resolve({"serving": serving}) == {}


def test_all_sixteen_documented_keys_are_taken() -> None:
    full = {
        "name": "g",
        "label": "string",
        "valueType": "INTEGER",
        "stage": "GROUND_TRUTH",
        "position": 0,
        "categorical": False,
        "categories": [],
        "minRange": 0,
        "maxRange": 0,
        "monitorForBias": False,
        "bins": [],
        "isUnique": False,
        "isPositivePredictedAttribute": False,
        "attributeLink": "p",
        "tokenAttributeLink": None,
        "gtClassLink": None,
        "implicit": False,
    }
    spec = {
        "inputType": "TABULAR",
        "outputType": "MULTICLASS",
        "attributes": [*INPUTS, prediction("p", 0, attributeLink="g"), full],
    }
    assert resolve(spec)["g"].min_range == 0


def test_a_class_column_may_know_classes_that_the_model_does_not() -> None:
    spec = STORIES["many classes, class column"]
    wider = [
        a | categories("cat", "dog", "red panda", "fox") if a["name"] == "species" else a
        for a in spec["attributes"]
    ]
    assert "species_is_fox" not in resolve(spec | {"attributes": wider})


def test_a_truth_may_be_text_of_zeros_and_ones() -> None:
    text = truth("g", 0, attributeLink="p") | {"valueType": "STRING"}
    spec = {
        "inputType": "TABULAR",
        "outputType": "MULTICLASS",
        "attributes": [*INPUTS, prediction("p", 0, attributeLink="g"), text],
    }
    assert resolve(spec)["not_g"].attribute_link == "not_p"
