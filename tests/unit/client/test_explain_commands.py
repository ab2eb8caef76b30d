"""`modelwarden why` and `modelwarden importance`: what they ask, and the lines they make of the answer."""

import json
from typing import Any

import pytest
from scripted_cell import MODEL_ID, Answer, ScriptedCell, always

from modelwarden.client.cli import main

SCORES = [
    {"attribute_name": "age", "explanation_value": 0.05},
    {"attribute_name": "income", "explanation_value": -0.25, "standard_error": 0.01},
    {"attribute_name": "town", "explanation_value": None},
]
WHY: dict[str, Any] = {
    "explanation": [
        {"algorithm": "shap", "predicted_attribute_name": "p", "importance_scores": SCORES}
    ],
    "expected_value": [{"predicted_attribute_name": "p", "expected_value": 0.5}],
    "prediction": [{"predicted_attribute_name": "p", "value": 0.3}],
    "units": "probability",
    "path": "kernel",
    "why": "predict was asked",
}  # fmt: skip
IMPORTANCE: dict[str, Any] = {
    "start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z", "batch_id": None,
    "explained": 90, "failed": 2, "algorithm": "shap", "units": "probability", "agreement": 0.85,
    "drifted": True, "reference_importance": {"age": 0.3, "income": 0.1},
    "global_importance": [
        {"predicted_attribute_name": "p", "importance": [
            {"attribute_name": "income", "importance": 0.2}, {"attribute_name": "age", "importance": 0.1}
        ]}
    ],
}  # fmt: skip


def told(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str], answer: Any, *options: str) -> str:
    scripted.script = always(Answer(200, answer))
    assert main((*options, "--url", scripted.url, "--key", "k", "--model-id", MODEL_ID)) == 0
    return capsys.readouterr().out


def test_what_moved_a_prediction_most_comes_first(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(scripted, capsys, WHY, "why", "a/b 1", "--algorithm", "shap").splitlines()
    assert lines[0] == "by kernel, in units of probability: predict was asked"
    assert lines[2] == "p = 0.3, on average 0.5"
    assert [line.split() for line in lines[4:]] == [
        ["income", "-0.25", "0.01"], ["age", "+0.05", "exact"], ["town", "missing", "exact"]
    ]  # fmt: skip
    assert scripted.asked[0].path.endswith("/inferences/a%2Fb%201/explanation")
    assert scripted.asked[0].query == {"algorithm": ["shap"]}


def test_a_row_that_never_was_is_sent_with_values_as_json_or_text(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = WHY | {"predicted_values": [{"attribute_name": "p", "attribute_value": 0.31}]}
    shown = told(scripted, capsys, answer, "why", "--what-if", "age=41", "town=north", "income=null")
    assert "p = 0.31, on average 0.5" in shown
    sent = json.loads(scripted.asked[0].body)["model_pipeline_input"]
    assert [one["attribute_value"] for one in sent] == [41, "north", None]


@pytest.mark.parametrize("options", [["why"], ["why", "r-1", "--what-if", "a=1"], ["why", "--what-if", "a"]])
def test_a_question_that_makes_no_sense_is_refused(scripted: ScriptedCell, options: list[str]) -> None:
    assert main((*options, "--url", scripted.url, "--key", "k", "--model-id", MODEL_ID)) != 0
    assert scripted.asked == []


def test_what_matters_is_told_beside_the_reference(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(scripted, capsys, IMPORTANCE, "importance").splitlines()
    assert "90 rows explained, 2 could not be" in lines[0]
    assert lines[1] == "inputs matter in another order than the reference (agreement 0.850)"
    assert [line.split() for line in lines[5:]] == [["income", "0.2", "0.1"], ["age", "0.1", "0.3"]]
