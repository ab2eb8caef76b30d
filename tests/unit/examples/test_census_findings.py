"""The lines that the demo ends with: what a cell answered, in words."""

from typing import Any

import pytest

from examples.census import demo, findings
from examples.census.findings import Names

NAMES = Names({"SEX": "Sex", "AGEP": "Age in years"}, {"SEX": {"1": "Male", "2": "Female"}})


def anomalies(rate: float, *, raised: bool = False) -> dict[str, Any]:
    return {"rate": rate, "expected_rate": 0.01, "raised": raised}


def month(start: str, auc: float | None, coverage: float, withheld: str | None = None) -> dict[str, Any]:
    estimated = {"value": 0.88, "lower": 0.87, "upper": 0.89}
    return {
        "start": f"{start}-01T00:00:00Z",
        "rows": 100,
        "labelled": round(100 * coverage),
        "coverage": coverage,
        "metrics": {"auc": {"value": auc, "baseline": 0.9}},
        "estimated": {"withheld": withheld, "metrics": {} if withheld else {"auc": estimated}},
    }


MONTHS = [month("2018-01", 0.9, 1.0), month("2018-02", 0.8, 0.96), month("2018-03", None, 0.0)]


def groups(*, significant: bool = True) -> dict[str, Any]:
    return {
        "attribute": "SEX",
        "spread": {"true_positive_rate": {"lowest": "2", "highest": "1", "significant": significant}},
        "groups": [
            {"group": "1", "rates": {"true_positive_rate": {"value": 0.33}}},
            {"group": "2", "rates": {"true_positive_rate": {"value": 0.25}}},
        ],
        "four_fifths": {"verdict": "holds"},
    }


def slices(*found: dict[str, Any]) -> dict[str, Any]:
    bounds = {"window_start": "2018-01-01T00:00:00Z", "window_end": "2018-01-08T00:00:00Z"}
    return bounds | {"threshold": 0.7, "data": list(found)}


WORST = {"rule": "17 < AGEP <= 21", "value": 0.62, "rest": {"value": 0.84}, "rows": 1362}


def test_months_with_far_more_unusual_people_are_named_the_worst_first() -> None:
    line = findings.anomaly_line(
        {
            "2017-11": anomalies(0.012),
            "2017-12": anomalies(0.05, raised=True),
            "2018-01": anomalies(0.14, raised=True),
        }
    )
    assert "14.0% in 2018-01, 5.0% in 2017-12, at most 1.2% in the others" in line


def test_of_many_unusual_months_the_rest_are_counted() -> None:
    line = findings.anomaly_line({f"2017-0{n}": anomalies(n / 100, raised=True) for n in range(1, 6)})
    assert "5.0% in 2017-05, 4.0% in 2017-04, 3.0% in 2017-03 and 2 months more." in line


def test_without_unusual_months_the_highest_share_is_told() -> None:
    assert "at most 1.1% were in any month" in findings.anomaly_line(
        {"2016-01": anomalies(0.009), "2016-02": anomalies(0.011)}
    )


def test_what_labels_say_names_the_worst_month_the_best_one_and_how_many_have_come() -> None:
    line = findings.label_line(MONTHS)
    assert "0.900 in the reference" in line
    assert "from 0.800 in 2018-02 to 0.900 in 2018-01; 65% of people have a label by now" in line


def test_without_any_label_nothing_is_said_of_how_right_it_was() -> None:
    assert findings.label_line(MONTHS[2:]) == "How right it was: no label has come yet."


def test_the_estimate_is_told_of_the_newest_month_and_beside_labels_of_the_worst() -> None:
    line = findings.estimate_line(MONTHS)
    assert "0.880 (0.870 to 0.890) in 2018-03, of whom 0% have a label" in line
    assert "0.880 (0.870 to 0.890) in 2018-02, where labels say 0.800" in line


def test_an_estimate_that_is_withheld_says_why() -> None:
    line = findings.estimate_line([*MONTHS[:2], month("2018-03", None, 0.0, "unlike the reference")])
    assert "no trusted estimate (unlike the reference) in 2018-03" in line


def test_groups_are_told_of_the_newest_month_that_has_its_labels() -> None:
    assert findings.labelled_month(MONTHS) is MONTHS[1]


@pytest.mark.parametrize(
    ("significant", "words"), [(True, "more than chance"), (False, "which may be chance")]
)
def test_groups_are_named_as_people_call_them(significant: bool, words: str) -> None:
    line = findings.group_line(groups(significant=significant), "2018-02", NAMES)
    assert f"it finds 25% of Female and 33% of Male, {words}" in line


def test_groups_too_small_to_compare_are_not_compared() -> None:
    answer = groups() | {"spread": {}}
    assert "too few labels in 2018-02" in findings.group_line(answer, "2018-02", NAMES)


def test_the_worst_slice_is_told_with_all_others_beside_it() -> None:
    line = findings.slice_line(slices(WORST, WORST), NAMES)
    assert "where 17 < AGEP <= 21 (AGEP: Age in years) it is right of 62% of people, of 84% of all" in line
    assert "(1,362 people; 2 such slices)" in line


def test_without_a_slice_under_the_threshold_it_says_so() -> None:
    assert "none in which it is right of fewer than 70%" in findings.slice_line(slices(), NAMES)


def test_all_lines_are_there_and_the_names_are_those_of_the_model() -> None:
    found = findings.Findings({"2018-01": anomalies(0.01)}, MONTHS, [groups(), groups()], slices(WORST))
    assert len(findings.lines(found, NAMES)) == 6
    assert demo.names().group("SEX", "2") == "Female"


def importance(*ranked: tuple[str, float], agreement: float | None = 0.97) -> dict[str, Any]:
    scores = [{"attribute_name": name, "importance": value} for name, value in ranked]
    return {"global_importance": [{"importance": scores}] if ranked else [], "agreement": agreement}


def why(**values: float) -> dict[str, Any]:
    scores = [{"attribute_name": name, "explanation_value": value} for name, value in values.items()]
    return {
        "explanation": [{"predicted_attribute_name": "p", "importance_scores": scores}],
        "expected_value": [{"predicted_attribute_name": "p", "expected_value": -0.5}],
        "path": "linear",
    }


REASONS = findings.Reasons(
    importance={"2016-01": importance(("AGEP", 1.5), ("SEX", 0.25)), "2018-01": importance(agreement=None)},
    person={"AGEP": 19, "SEX": "2", "p": 0.0625},
    why=why(AGEP=-0.25, SEX=1.5),
    explained=12_000,
)


def test_what_matters_is_told_for_each_month_with_its_agreement() -> None:
    line, _ = findings.reason_lines(REASONS, NAMES)
    assert "12,000 people explained" in line
    assert "2016-01: Age in years 1.50, Sex 0.25 (agrees with the reference: 0.97 of 1)" in line
    assert "2018-01: nobody is explained" in line


def test_why_for_one_person_names_the_strongest_reason_first_in_words() -> None:
    line = findings.why_line(REASONS, NAMES)
    assert "said 6% of the strangest person: Sex Female +1.50, Age in years 19 -0.25; from -0.50" in line


def test_the_strangest_month_has_the_largest_share_of_strange_people() -> None:
    assert findings.strangest_month({"2017-12": anomalies(0.05), "2018-01": anomalies(0.14)}) == "2018-01"
