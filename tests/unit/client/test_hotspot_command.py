"""`modelwarden hotspots`: what it asks, and the table it makes of the answer."""

from typing import Any

import pytest
from scripted_cell import MODEL_ID, Answer, ScriptedCell, always

from modelwarden.client.cli import main

NODE = {
    "rule": "age > 60 and town is south", "n": 412, "share": 0.0721, "value": 0.4123,
    "interval": [0.366, 0.461],
    "rest": {"value": 0.8641, "n": 5300}, "p_adjusted": 3.2e-40, "windows": 3,
    "filter": [{"property": "age"}],
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "data": [NODE], "metric": "accuracy", "threshold": None, "overall": 0.83, "rows": 12000,
    "searched": 12000,
    "labelled": 11500, "note": None, "window_start": "2026-03-01T00:00:00Z",
    "window_end": "2026-03-08T00:00:00Z", "batch_id": None, "ref_set_id": None,
}  # fmt: skip


def told(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str], answer: Any, *options: str) -> str:
    scripted.script = always(Answer(200, answer))
    options = ("hotspots", "--url", scripted.url, "--key", "k", "--model-id", MODEL_ID, *options)
    assert main(options) == 0
    return capsys.readouterr().out


def test_regions_are_a_line_each_below_what_was_searched(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    first, header, region = told(scripted, capsys, ANSWER).splitlines()
    assert "12000 rows, 11500 of 12000 labelled, accuracy 0.830" in first
    assert header.split() == ["rule", "n", "share", "value", "interval", "rest", "p", "windows"]
    assert region.startswith("age > 60 and town is south  412  7.2%   0.412  0.366 to 0.461  0.864  3e-40")
    assert scripted.asked[0].path.endswith("/enrichments/hotspots/find")
    assert scripted.asked[0].query == {"threshold": ["rest"]}


def test_the_window_metric_and_threshold_can_be_named(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(
        scripted,
        capsys,
        ANSWER | {"batch_id": "b1"},
        "--metric",
        "recall",
        "--threshold",
        "0.7",
        "--batch",
        "b1",
    )
    assert shown.startswith("batch b1: ")
    assert scripted.asked[0].query == {"metric": ["recall"], "threshold": ["0.7"], "batch_id": ["b1"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": []}, "no region is worse for certain"),
        ({"data": [], "note": "every row is right"}, "every row is right"),
    ],
)
def test_nothing_found_is_told_in_words(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    assert says in told(scripted, capsys, ANSWER | change)


def test_all_that_is_known_comes_as_json(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]) -> None:
    assert '"property": "age"' in told(scripted, capsys, ANSWER, "--json")
