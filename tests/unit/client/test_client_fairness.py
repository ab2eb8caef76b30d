"""Groups and thresholds as a person reads them, and what the commands ask for."""

import json
from typing import Any

import pytest
from scripted_cell import MODEL_ID, Answer, Asked, ScriptedCell

from modelwarden.client import cli
from modelwarden.client.fair_telling import fairness_lines, mitigation_lines, status_of_groups

RATES = ("selection_rate", "accuracy", "true_positive_rate", "false_positive_rate")


def share(value: float, n: int = 900) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": n}


def group(name: str, value: float | None, difference: dict[str, Any] | None = None) -> dict[str, Any]:
    rate = {"value": None, "n": 12, "withheld": "n=12 < 30"} if value is None else share(value)
    differences = {} if difference is None else dict.fromkeys(RATES, difference)
    return {"group": name, "rates": dict.fromkeys(RATES, rate), "differences": differences}


ANSWER: dict[str, Any] = {
    "attribute": "sex",
    "threshold": 0.5,
    "source": "partials",
    "start": "2026-03-01T00:00:00Z",
    "end": "2026-03-02T00:00:00Z",
    "rows": 1900,
    "labelled": 1200,
    "base_group": "m",
    "groups": [
        group("m", 0.5),
        group("f", 0.25, {"value": -0.25, "significant": True}),
        group("x", 0.45, {"value": -0.05, "significant": False}),
        group("\x1b[31mred", None),
    ],
    "four_fifths": {"verdict": "fails", "ratio": share(0.5), "lowest": "f", "highest": "m"},
    "reference": {"groups": [group("f", 0.4)]},
}
FIGURE = {"value": 0.1, "low": 0.05, "high": 0.15}
GAP = {"metric": "selection_rate", "lowest": "f", "highest": "m", "difference": FIGURE, "ratio": None}
THRESHOLDS: dict[str, Any] = {
    "score": "p",
    "threshold_before": 0.5,
    "artefact_hash": "a" * 64,
    "trained_at": "2026-03-01T00:00:00+00:00",
    "reference": {"rows": 4000, "dataset": "train"},
    "note": "Modelwarden never applies them.",
    "recommended": [
        {
            "attribute": "sex",
            "constraint": "demographic_parity",
            "groups": [{"group": "f", "threshold": 0.4}, {"group": "m", "threshold": 2.0}],
            "left_out": {"x": "has 12 labelled rows to learn from, fewer than 30"},
            "judged": {
                "labelled": 2000,
                "accuracy_before": FIGURE,
                "accuracy_after": FIGURE,
                "accuracy_change": FIGURE,
                "gap_before": GAP,
                "gap_after": GAP,
                "groups": [{"group": "f", "rows": 800, "to_yes": 100, "to_no": 0}],
            },
        }
    ],
}


def test_groups_are_bars_with_what_they_are_compared_with_and_how_sure_that_is() -> None:
    lines = fairness_lines(ANSWER, ["selection_rate"])
    shown = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert shown["m"].count("█") == 10
    assert shown["m"].endswith("compared with")
    assert "0.400 in the reference" in shown["f"]
    assert shown["f"].endswith("-0.250, differs")
    assert shown["x"].endswith("may be chance")
    assert lines[-1] == "four-fifths rule: fails; f is selected 0.50 times as often (0.49 to 0.51) as m"


def test_too_few_rows_are_said_to_be_and_names_cannot_steer_the_terminal() -> None:
    (line,) = [line for line in fairness_lines(ANSWER, ["accuracy"]) if "too few rows" in line]
    assert "n=12 < 30" in line
    assert "\x1b" not in line


def test_a_window_without_rows_says_so() -> None:
    assert fairness_lines(ANSWER | {"groups": []})[-1] == "no row of this window has a score"


def test_the_rule_without_two_groups_has_nothing_to_say() -> None:
    rule = {"verdict": "withheld", "ratio": None, "lowest": None, "highest": None}
    assert "fewer than two groups" in fairness_lines(ANSWER | {"four_fifths": rule})[-1]


def test_thresholds_say_what_they_would_change_and_warn() -> None:
    lines = mitigation_lines(THRESHOLDS)
    text = "\n".join(lines)
    assert "0.400  100 of 800 rows from no to yes" in text
    assert "nobody" in text
    assert "keeps what it has: it has 12 labelled rows" in text
    assert "gap in selection rate 0.100 (0.050 to 0.150), then 0.100" in text
    assert lines[-1] == "Modelwarden never applies them."


def test_the_status_has_a_line_for_each_attribute() -> None:
    gaps = [{"metric": "selection_rate", "difference": 0.2, "significant": True}]
    report = {"attributes": [{"attribute": "sex", "fourFifths": "fails", "ratio": 0.55, "gaps": gaps}]}
    assert status_of_groups(report) == [
        "fairness   sex: four-fifths rule fails (ratio 0.55), selection rate 0.200 apart"
    ]
    assert status_of_groups(None) == []


SEX_OF_M = {"attribute": "sex", "base_group": "m", "threshold": "0.4"}
SEX_ODDS = {"attribute": "sex", "constraint": "equalized_odds"}
DOOR = "enrichments/bias_mitigation/thresholds"


@pytest.mark.parametrize(
    ("command", "door", "params", "answer", "code"),
    [
        ("fairness sex --base m --threshold 0.4 --check", "fairness", SEX_OF_M, ANSWER, 2),
        ("fairness", "fairness", {}, ANSWER, 0),
        ("mitigation sex --constraint equalized_odds --json", DOOR, SEX_ODDS, THRESHOLDS, 0),
    ],
)
def test_commands_ask_what_they_are_told(
    scripted: ScriptedCell,
    capsys: pytest.CaptureFixture[str],
    command: str,
    door: str,
    params: dict[str, str],
    answer: dict[str, Any],
    code: int,
) -> None:
    asked: list[Asked] = []

    def script(what: Asked, _n: int) -> Answer:
        if what.path == "/status":
            return Answer(200, {"modelId": MODEL_ID})
        asked.append(what)
        return Answer(200, answer)

    scripted.script = script
    assert cli.main([*command.split(), "--url", scripted.url, "--key", "secret"]) == code
    assert [one.path for one in asked] == [f"/api/v3/models/{MODEL_ID}/{door}"]
    assert asked[0].query == {name: [value] for name, value in params.items()}
    shown = capsys.readouterr().out
    if "--json" in command:
        assert json.loads(shown) == answer
