"""What holds for every model that resolves; and nothing but our own error comes out of one that does not."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from model_stories import STORIES, Spec

from modelwarden.resources.attributes import Attribute, InputType, OutputType, Stage, ValueType
from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.resolution import Problem, SchemaError, resolve_attributes

NAMES = st.sampled_from(["a", "b", "c", "d", "A", "batch_id", "__x", "not_a", "c_is_1"])
VALUES = st.sampled_from(["0", "1", "1.0", "yes", "", "nan", "1e400", "٣", "-0", "0x1"])
MAYBE_NAME = st.none() | NAMES
NUMBERS = st.none() | st.floats(-10, 10)

ATTRIBUTES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "valueType": st.sampled_from(ValueType),
        "stage": st.sampled_from(Stage),
        "position": st.none() | st.integers(0, 3),
        "categorical": st.booleans(),
        "categories": st.lists(st.fixed_dictionaries({"value": VALUES}), max_size=3),
        "bins": st.lists(
            st.fixed_dictionaries({"continuousStart": NUMBERS, "continuousEnd": NUMBERS}), max_size=2
        ),
        "minRange": NUMBERS,
        "maxRange": NUMBERS,
        "monitorForBias": st.booleans(),
        "isPositivePredictedAttribute": st.booleans(),
        "attributeLink": MAYBE_NAME,
        "tokenAttributeLink": MAYBE_NAME,
        "gtClassLink": st.none() | VALUES,
        "implicit": st.booleans(),
    }
).map(Attribute.model_validate)


@st.composite
def variations(draw: st.DrawFn) -> Spec:
    """A story whose attributes are shuffled, and some of which have lost their positions."""
    story = STORIES[draw(st.sampled_from(sorted(STORIES)))]
    attributes = draw(st.permutations(story["attributes"]))
    loose = draw(st.sets(st.integers(0, len(attributes) - 1)))
    kept = [
        {key: value for key, value in a.items() if key != "position" or index not in loose}
        for index, a in enumerate(attributes)
    ]
    return story | {"attributes": kept}


@given(variations())
def test_whatever_resolves_has_unique_names_and_positions_and_links_both_ways(spec: Spec) -> None:
    resolved = resolve_attributes(MonitoredModelSpec.model_validate(spec))
    by_name = {a.name: a for a in resolved}
    assert max(Counter(a.name.lower() for a in resolved).values()) == 1
    assert max(Counter((a.stage, a.position) for a in resolved).values()) == 1
    for attribute in resolved:
        if attribute.attribute_link is not None:
            assert by_name[attribute.attribute_link].attribute_link == attribute.name


@given(variations())
def test_every_prediction_of_a_classifier_has_its_ground_truth(spec: Spec) -> None:
    model = MonitoredModelSpec.model_validate(spec)
    resolved = resolve_attributes(model)
    if model.output_type in (OutputType.MULTICLASS, OutputType.MULTILABEL):
        assert all(a.attribute_link for a in resolved if a.stage is Stage.PREDICTED_VALUE)


@given(variations())
def test_the_order_of_the_list_decides_nothing_where_positions_are_given(spec: Spec) -> None:
    if all("position" in a for a in spec["attributes"]):
        one = resolve_attributes(MonitoredModelSpec.model_validate(spec))
        ordered = sorted(spec["attributes"], key=lambda a: str(a["name"]))
        other = resolve_attributes(MonitoredModelSpec.model_validate(spec | {"attributes": ordered}))
        declared = {a["name"] for a in ordered}
        assert {a.name: a for a in one if a.name in declared} == {
            a.name: a for a in other if a.name in declared
        }


@given(
    st.lists(ATTRIBUTES, max_size=5),
    st.none() | st.sampled_from(InputType),
    st.none() | st.sampled_from(OutputType),
)
def test_nothing_but_a_schema_error_with_problems_is_raised(
    attributes: list[Attribute], input_type: InputType | None, output_type: OutputType | None
) -> None:
    spec = MonitoredModelSpec(attributes=tuple(attributes), input_type=input_type, output_type=output_type)
    problems = _problems_of(spec)
    assert problems is None or (problems and all(problem.field and problem.message for problem in problems))


def _problems_of(spec: MonitoredModelSpec) -> tuple[Problem, ...] | None:
    try:
        resolve_attributes(spec)
    except SchemaError as error:
        return error.problems
    return None
