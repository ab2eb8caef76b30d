"""What the demo decides by itself: whether to keep things, what is a success, what it tells people to try."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from examples.census import demo, picture, watched_model
from examples.census.kubectl import NotInTimeError, Waiting, condition, wait_for
from examples.census.next_steps import next_steps
from examples.census.report import Reach
from examples.census.telling import Counts, Passage
from testbed.errors import SetupError

WHOLE = Passage(sent=5, acknowledged=5, rejected=0, stored=5, distinct_ids=5)
ALL_THERE = Counts(reference=10, rows=WHOLE, labels=WHOLE, labels_to_come=2)


@pytest.mark.parametrize(
    ("wanted", "terminal", "kept"),
    [
        (None, True, True),
        (None, False, False),
        ("", True, True),
        ("1", False, True),
        ("0", True, False),
        ("no", True, False),
    ],
)
def test_a_person_at_a_terminal_keeps_what_was_brought_up(
    wanted: str | None, terminal: bool, kept: bool
) -> None:
    environ = {} if wanted is None else {"DEMO_KEEP": wanted}
    assert demo.keep(environ, terminal=terminal) is kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"stored": 4},
        {"stored": 6},
        {"distinct_ids": 4},
        {"acknowledged": 4, "rejected": 1},
        {"acknowledged": 4, "stored": 4},
    ],
)
@pytest.mark.parametrize("of", ["rows", "labels"])
def test_a_row_or_label_that_is_not_where_it_must_be_fails_the_demo(
    wrong: dict[str, int], of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.verdict(ALL_THERE) == 0
    missing: dict[str, Any] = {of: replace(WHOLE, **wrong)}
    assert demo.verdict(replace(ALL_THERE, **missing)) == 1
    assert "error" in capsys.readouterr().err


def test_what_to_try_next_are_whole_commands() -> None:
    text = next_steps(Reach("/k", "http://u", "secret", "/t"), Path("/bin"), "census", watched_model.MODEL)
    joined = text.replace("\\\n", " ")
    commands = [
        line for line in joined.splitlines() if line.startswith("  ") and not line.startswith("  tables")
    ]
    for command in commands:
        assert len(shlex.split(command, comments=True)) > 1
    query, patch = (part for part in shlex.split(joined, comments=True) if part.startswith("{"))
    assert json.loads(query) == {"select": [{"function": "auc"}], "rollup": "month"}
    assert json.loads(patch) == {"spec": {"monitoring": {"driftThreshold": 0.5}}}


def test_the_threshold_and_the_labels_are_those_of_the_model() -> None:
    threshold, labels = demo.threshold_and_labels()
    assert threshold == 0.2
    assert labels["SEX"] == "Sex"


def test_the_picture_is_a_well_formed_and_small_svg() -> None:
    months = pd.date_range("2016-01-01", periods=36, freq="MS", tz="UTC")
    scores = pd.DataFrame({f"f{n}": [n / 10 + m / 100 for m in range(36)] for n in range(17)}, index=months)
    scores.iloc[3, 4] = float("nan")
    text = picture.drift_svg(scores, 0.2, {"f1": "a < b & c"})
    drawn = ET.fromstring(text)
    squares = sum(str(path.get("d")).count("M") for path in drawn.iter("{http://www.w3.org/2000/svg}path"))
    assert squares == 17 * 36 - 1
    assert len(text) < 25_000


@pytest.mark.parametrize(
    ("found", "so"),
    [
        (None, False),
        ({"metadata": {"generation": 2}}, False),
        (
            {"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
            False,
        ),
        (
            {
                "metadata": {"generation": 2},
                "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]},
            },
            False,
        ),
        (
            {
                "metadata": {"generation": 2},
                "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}]},
            },
            True,
        ),
    ],
)
def test_a_condition_counts_only_for_the_newest_generation(found: dict[str, object] | None, so: bool) -> None:
    assert condition(found, "Ready")[0] is so


def test_waiting_in_vain_says_what_was_seen_last() -> None:
    heard: list[str] = []
    with pytest.raises(NotInTimeError, match=r"the moon.*half"):
        wait_for("the moon", lambda: (False, "half"), Waiting(0.0, every=0.001, heard=heard.append))
    assert heard == ["half"]


def test_a_second_demo_does_not_run_over_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "cache" / "demo.lock"
    with demo.alone(lock), pytest.raises(SetupError, match="running"), demo.alone(lock):
        pytest.fail("both run")
    with demo.alone(lock):
        pass
