"""`modelwarden anomalies`: what it asks, and the lines it makes of the answer and of the status."""

import json
from typing import Any

import pytest
from scripted_cell import MODEL_ID, Answer, ScriptedCell, always

from modelwarden.client.cli import main
from modelwarden.client.telling import anomaly_line

ANSWER: dict[str, Any] = {
    "start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z", "batch_id": None, "rows": 900,
    "scored": 900, "complete": True, "percentile": 99.0, "limit": 0.61, "beyond": 36, "rate": 0.04,
    "expected_rate": 0.01, "p_value": 1.2e-9, "raised": True, "withheld": None, "mean_score": 0.5211,
    "reference_mean_score": 0.4512, "histogram": [], "attributes": {"age": 20, "income": 9}, "source": "rows",
    "artefact_hash": "ab",
    "worst": [{
        "partner_inference_id": "loan-7", "inference_timestamp": "2026-03-01T08:00:00Z",
        "anomaly_score": 0.7123, "anomaly_percentile": 100.0, "attributes": ["age", "income"],
    }],
}  # fmt: skip


def told(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str], answer: Any, *options: str) -> str:
    scripted.script = always(Answer(200, answer))
    assert main(["anomalies", "--url", scripted.url, "--key", "k", "--model-id", MODEL_ID, *options]) == 0
    return capsys.readouterr().out


def test_the_verdict_the_attributes_and_the_worst_rows_are_told(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    window, verdict, mean, because, _, header, worst = told(scripted, capsys, ANSWER).splitlines()
    assert window == "2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z: 900 rows scored"
    assert verdict.startswith("36 (4.00%) beyond the reference's 99th percentile, 1.00% expected")
    assert verdict.endswith("more than the reference explains (p = 1.2e-09)")
    assert mean == "mean score 0.521, the reference's 0.451"
    assert because == "because of age (20), income (9)"
    assert header.split()[0] == "partner_inference_id"
    assert worst.split() == ["loan-7", "2026-03-01T08:00:00Z", "0.712", "100.00", "age,", "income"]
    assert scripted.asked[0].path.endswith("/anomalies")
    assert scripted.asked[0].query == {"limit": ["10"]}


def test_the_window_can_be_named(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]) -> None:
    told(scripted, capsys, ANSWER, "--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z")
    assert scripted.asked[0].query == {
        "start": ["2026-03-01T00:00:00Z"], "end": ["2026-03-02T00:00:00Z"], "limit": ["10"],
    }  # fmt: skip
    shown = told(scripted, capsys, ANSWER | {"batch_id": "b1"}, "--batch", "b1", "--limit", "0")
    assert shown.startswith("batch b1: ")
    assert told(scripted, capsys, ANSWER | {"end": None}).startswith(
        "2026-03-01T00:00:00Z to the newest row: 900 rows scored"
    )
    assert scripted.asked[1].query == {"batch_id": ["b1"], "limit": ["0"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"withheld": "n=12 < 200", "raised": False}, "no verdict: n=12 < 200"),
        ({"raised": False}, "nothing unusual"),
        ({"complete": False}, "ask again"),
    ],
)
def test_what_is_not_known_is_said(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    assert said in told(scripted, capsys, ANSWER | change)


def test_a_cell_that_has_scored_nothing_yet_says_so(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = {"scored": 0, "rate": None, "mean_score": None, "worst": [], "attributes": {}, "p_value": None}
    assert told(scripted, capsys, ANSWER | nothing).splitlines() == [
        "2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z: 0 rows scored"
    ]


def test_all_of_it_as_json(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(told(scripted, capsys, ANSWER, "--json")) == ANSWER


def test_the_status_has_a_line_once_rows_have_scores() -> None:
    report = {
        "rate": 0.04,
        "scored": 900,
        "expected": 0.01,
        "raised": True,
        "attributes": {"age": 3},
        "waiting": 5,
    }
    assert anomaly_line(report) == ["anomalies  4.0% of 900 rows (expected 1.0%): age, 5 rows wait"]
    assert anomaly_line(report | {"raised": False, "waiting": 0}) == [
        "anomalies  4.0% of 900 rows (expected 1.0%)"
    ]
    assert anomaly_line(report | {"rate": None}) == anomaly_line(None) == []
