"""Training thresholds per group: found on one half, judged on the other; and what cannot be trained."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from biased_reference import ATTRIBUTES, identity, reference, spec, trained
from fairlearn.metrics import demographic_parity_difference, equal_opportunity_difference

from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.fairness.outcomes import FairnessMetric
from modelwarden_server.analysis.mitigation.curves import CHOICES, Constraint
from modelwarden_server.analysis.mitigation.result import AttributeResult, ConstraintResult, Mitigation, read
from modelwarden_server.analysis.mitigation.split import halves
from modelwarden_server.enrichments.kind import input_hash
from modelwarden_server.jobs.training import UntrainableError

DP, EO = Constraint.DEMOGRAPHIC_PARITY, Constraint.EQUAL_OPPORTUNITY


def result(table: pa.Table, **inputs: Any) -> Mitigation:
    made = unpack(pack(trained(table, **inputs)))
    return read(made.manifest, made.arrays)


def of(found: Mitigation, attribute: str, constraint: Constraint) -> ConstraintResult:
    one = next(a for a in found.manifest.attributes if a.attribute == attribute)
    return next(c for c in one.constraints if c.constraint is constraint)


def thresholds(found: Mitigation, attribute: str, constraint: Constraint) -> dict[str, float]:
    one = of(found, attribute, constraint)
    assert one.optimization_index is not None
    return {
        facts.group: float(
            CHOICES[found.curves[attribute, constraint, facts.group].choices[one.optimization_index]]
        )
        for facts in one.curves
    }


@pytest.mark.parametrize("constraint", [DP, EO])
def test_thresholds_make_groups_alike_on_rows_that_they_were_not_found_on(constraint: Constraint) -> None:
    table = reference()
    found = result(table)
    judged = of(found, "sex", constraint).judged
    assert judged is not None
    assert judged.gap_before is not None
    assert judged.gap_after is not None
    assert judged.gap_before.difference.low > 0.1
    assert abs(judged.gap_after.difference.value) < 0.05
    # the figures are those of fairlearn on the very rows of the other half
    seed = int(input_hash("bias", 1, trained(table).manifest["inputs"])[:8], 16)
    other = halves(0, table.num_rows, seed) == 1
    p, y, sex = (np.asarray(table.column(name))[other] for name in ("p", "y", "sex"))
    new = thresholds(found, "sex", constraint)
    decided = p >= np.array([new[name] for name in sex])
    gap = demographic_parity_difference if constraint is DP else equal_opportunity_difference
    before = gap(y, p >= 0.5, sensitive_features=sex)
    after = gap(y, decided, sensitive_features=sex)
    assert judged.gap_before.difference.value == pytest.approx(before, abs=1e-12)
    assert judged.gap_after.difference.value == pytest.approx(after, abs=1e-12)
    assert judged.labelled == int(other.sum())
    assert judged.accuracy_before.value == pytest.approx(np.mean((p >= 0.5) == y))
    assert judged.accuracy_after.value == pytest.approx(np.mean(decided == y))


def test_the_same_inputs_give_the_same_bytes_in_any_pieces() -> None:
    table = reference(1500)
    assert pack(trained(table, pieces=1500)) == pack(trained(table, pieces=41))


def test_halves_are_halves_and_do_not_follow_the_order_of_the_table() -> None:
    found = halves(0, 100_000, 5)
    assert abs(found.mean() - 0.5) < 0.01
    assert abs(found[::2].mean() - 0.5) < 0.01
    assert abs(np.mean(found[:-1] == found[1:]) - 0.5) < 0.01
    assert np.array_equal(np.concatenate([halves(0, 777, 5), halves(777, 1000, 5)]), halves(0, 1777, 5))
    assert not np.array_equal(halves(0, 1000, 5), halves(0, 1000, 6))


def test_the_manifest_says_what_the_thresholds_are_made_of() -> None:
    made = unpack(pack(trained(reference(3000))))
    assert made.manifest["rows"] == 3000
    assert made.manifest["labelled"] == 3000
    assert made.manifest["window"] == ["2026-01-01T00:00:00+00:00", "2026-01-01T00:49:59+00:00"]
    assert made.manifest["threshold"] == 0.5
    ages = made.manifest["attributes"][0]["groups"]
    assert [(g["start"], g["end"]) for g in ages] == [(None, 30.0), (30.0, 60.0), (60.0, None)]


def test_what_changes_is_counted_group_by_group() -> None:
    judged = of(result(reference()), "sex", DP).judged
    assert judged is not None
    groups = {g.group: g for g in judged.groups}
    assert groups["f"].to_yes > 0 == groups["f"].to_no
    assert (
        groups["f"].after[FairnessMetric.SELECTION_RATE] > groups["f"].before[FairnessMetric.SELECTION_RATE]
    )


def test_rows_of_no_group_keep_their_threshold() -> None:
    table = reference(3000)
    sex = pa.array([None if i % 10 == 0 else v for i, v in enumerate(table.column("sex").to_pylist())])
    found = of(result(reference(3000, sex=sex)), "sex", DP)
    assert found.left_out["(missing)"] == "is no group of people"
    assert found.judged is not None
    missing = next(g for g in found.judged.groups if g.group == "(missing)")
    assert (missing.to_yes, missing.to_no) == (0, 0)


def test_a_group_without_positives_has_no_curve_of_true_positives_and_says_so() -> None:
    table = reference(4000)
    sex, y = table.column("sex").to_pylist(), table.column("y").to_pylist()
    third = ["x" if i % 5 == 0 else v for i, v in enumerate(sex)]
    labels = [0 if i % 5 == 0 else v for i, v in enumerate(y)]
    found = result(reference(4000, sex=pa.array(third), y=pa.array(labels)))
    assert {c.group for c in of(found, "sex", DP).curves} == {"f", "m", "x"}
    opportunity = of(found, "sex", EO)
    assert {c.group for c in opportunity.curves} == {"f", "m"}
    assert opportunity.left_out == {"x": "has no row whose label is the positive class"}


def test_of_ten_thousand_categories_the_most_frequent_fifty_are_groups() -> None:
    rng = np.random.default_rng(2)
    towns = np.where(rng.random(20_000) < 0.8, rng.integers(0, 60, 20_000), rng.integers(60, 10_060, 20_000))
    table = reference(20_000, sex=pa.array([f"t{t}" for t in towns]))
    found = next(a for a in result(table).manifest.attributes if a.attribute == "sex")
    assert isinstance(found, AttributeResult)
    assert len(found.groups) == 50
    one = next(c for c in found.constraints if c.constraint is DP)
    assert "(other)" in one.left_out


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no score", {"p": pa.nulls(500, pa.float64())}, "no row with a value of p"),
    ("no label", {"y": pa.nulls(500, pa.int64())}, "no row with a score and a label (y)"),
    ("one class", {"y": pa.array([1] * 500)}, "all 500 labelled rows of the reference are positive"),
    ("no positive", {"y": pa.array([0] * 500)}, "all 500 labelled rows of the reference are negative"),
    ("no probability", {"p": pa.array(np.linspace(-3, 3, 500))}, "p is no probability"),
    ("no values of the group", {"sex": pa.nulls(500, pa.string())}, "sex has no value in any row"),
    ("one group", {"sex": pa.array(["a secret"] * 500)}, "is the only group that is large enough"),
    ("groups of one", {"sex": pa.array([f"a secret {i}" for i in range(500)])}, "fewer than 30"),
]


@pytest.mark.parametrize(("name", "columns", "reason"), BAD, ids=[one[0] for one in BAD])
def test_what_cannot_be_trained_is_told_in_a_sentence_without_values(
    name: str, columns: dict[str, Any], reason: str
) -> None:
    del name
    with pytest.raises(UntrainableError) as told:
        trained(reference(500, **columns), attributes=[spec("sex")])
    assert reason in str(told.value)
    assert "secret" not in str(told.value)


def test_three_rows_are_too_few_and_said_to_be() -> None:
    table = reference(3, y=pa.array([0, 1, 1]))
    with pytest.raises(UntrainableError, match="fewer than 30"):
        trained(table, attributes=[spec("sex")])


def test_constant_scores_give_curves_of_nobody_and_everybody() -> None:
    found = result(reference(2000, p=pa.array([0.7] * 2000)))
    curve = found.curves["sex", DP, "f"]
    assert set(curve.attained.tolist()) == {0.0, 1.0}
    # more are negative than positive: best is nobody
    assert thresholds(found, "sex", DP) == {"f": 2.0, "m": 2.0}


def test_a_regression_is_refused() -> None:
    attributes = [a for a in ATTRIBUTES if a["stage"] not in ("PREDICTED_VALUE", "GROUND_TRUTH")]
    attributes += [
        {"name": "p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "y"},
        {"name": "y", "valueType": "FLOAT", "stage": "GROUND_TRUTH", "attributeLink": "p"},
    ]
    with pytest.raises(UntrainableError, match="two classes"):
        trained(reference(100), identity(attributes, outputType="REGRESSION"))


DP_OF_AGE, EO_OF_SEX = "0-demographic_parity", "1-equal_opportunity"


def constraint_of(made: Artefact) -> dict[str, Any]:
    """The first constraint of the first attribute, to be damaged."""
    found: dict[str, Any] = made.manifest["attributes"][0]["constraints"][0]
    return found


def manifest_of(made: Artefact) -> dict[str, Any]:
    assert isinstance(made.manifest, dict)
    return made.manifest


def arrays_of(made: Artefact) -> dict[str, Any]:
    assert isinstance(made.arrays, dict)
    return made.arrays


DAMAGES: dict[str, tuple[Callable[[Artefact], object], str]] = {
    "an array is gone": (lambda made: arrays_of(made).pop(f"{DP_OF_AGE}-gains"), "is missing"),
    "an array is of another shape": (
        lambda made: arrays_of(made).update({f"{DP_OF_AGE}-gains": np.zeros((3, 5), "i4")}),
        "another type or shape",
    ),
    "a threshold that there is none of": (
        lambda made: made.arrays[f"{EO_OF_SEX}-choices"].fill(1002), "a threshold that there is none of",
    ),
    "more rows right than there are": (
        lambda made: made.arrays[f"{EO_OF_SEX}-gains"].fill(2**31 - 1), "counts more than there is",
    ),
    "an index that is no point": (
        lambda made: constraint_of(made).update(optimization_index=1001), "optimization_index is no point",
    ),
    "no index beside curves": (
        lambda made: constraint_of(made).update(optimization_index=None), "without curves",
    ),
    "a curve of no group": (
        lambda made: constraint_of(made)["curves"][0].update(group="x"), "a group that is not listed",
    ),
    "an array too many": (lambda made: arrays_of(made).update(more=np.zeros(3)), "others than"),
    "another constraint": (lambda made: constraint_of(made).update(constraint="luck"), "luck"),
    "no score": (lambda made: manifest_of(made).pop("score"), "score"),
    "a text for a number": (lambda made: manifest_of(made).update(threshold="0.5"), "float"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_result_that_does_not_hang_together_is_refused(
    damage: Callable[[Artefact], object], reason: str
) -> None:
    made = unpack(pack(trained(reference(1500))))
    damage(made)
    with pytest.raises(ValueError, match=reason):
        read(made.manifest, made.arrays)
