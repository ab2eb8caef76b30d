"""The census story's page: read from what a cell answered, and honest about misses and false alarms."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest

from examples.census import train
from examples.census.findings import Names
from examples.census.story import cell, page, pictures, reading
from examples.census.story.chunks import FIRST, WEEK, Chunk, Truth
from examples.census.story.detectors import detectors, ranges
from examples.census.story.reading import Performance
from examples.census.story.run import Record

NAMES = Names({"SEX": "Sex"}, {"SEX": {"1": "Male", "2": "Female"}})
TRUE_AUC = [0.9, 0.8, 0.85, 0.9]
ROWS = 4


def chunk(number: int) -> Chunk:
    people = pa.table(
        {
            train.PREDICTION: [0.1, 0.9, 0.2, 0.8],
            "RELP": ["0", "0", "16", "17"],
            "SEX": ["1", "1", "2", "2"],
        }
    )
    return Chunk(number, FIRST + number * WEEK, people, pa.table({"employed": [0, 1, 0, 1]}))


def metric(name: str, value: float, *, worse: bool = False, n: int = ROWS) -> dict[str, Any]:
    bounds = {"lower": value - 0.01, "upper": value + 0.01}
    return {"metric": name, "value": value, **bounds, "worse": worse, "n": n}


def performance(number: int, *, worse: bool, estimate_worse: bool, verdict: str | None) -> dict[str, Any]:
    """A report about the labels of a week, and the estimate of the same."""
    start, end = FIRST + number * WEEK, FIRST + (number + 1) * WEEK
    window = {"windowStart": start.isoformat(), "windowEnd": end.isoformat()}
    auc = metric("auc", TRUE_AUC[number], worse=worse)
    estimated = {"metrics": [metric("auc", TRUE_AUC[number] + 0.005, worse=estimate_worse)], "trusted": True}
    return window | {
        "rows": ROWS, "labelled": ROWS, "coverage": 1.0, "metrics": [auc], "estimated": estimated | window,
        "worse": verdict is not None, "by": verdict,
    }  # fmt: skip


def status(number: int, **more: Any) -> dict[str, Any]:
    start, end = FIRST + number * WEEK, FIRST + (number + 1) * WEEK
    window = {"windowStart": start.isoformat(), "windowEnd": end.isoformat(), "rows": ROWS}
    feature = {"name": "RELP", "stage": "PIPELINE_INPUT", "threshold": 0.1, "n": ROWS, "pValue": 0.0}
    drifted = [feature | {"score": 0.5, "drifted": number > 0, "persistent": number > 1}]
    drift = window | {"metric": "PSI", "state": "Ok", "features": drifted, "checked": 1, "broken": 0}
    quality = window | {"volume": {"rows": ROWS, "raised": number == 3}, "lag": {"raised": False}}
    return {"modelId": "m", "activeReference": "r", "drift": drift, "dataQuality": quality} | more


def fairness(*, significant: bool) -> dict[str, Any]:
    rates = {"1": 0.33, "2": 0.25}
    return {
        "attribute": "SEX",
        "spread": {"true_positive_rate": {"lowest": "2", "highest": "1", "significant": significant}},
        "groups": [
            {"group": code, "rates": {"true_positive_rate": {"value": v}}} for code, v in rates.items()
        ],
        "four_fifths": {"verdict": "fails"},
    }


def record() -> Record:
    """Four weeks: the second and the third have collapsed; the estimate is late, labels are not, one alarm is
    false.
    """
    reports = [
        performance(0, worse=False, estimate_worse=False, verdict=None),
        performance(1, worse=True, estimate_worse=False, verdict=None),
        performance(2, worse=True, estimate_worse=True, verdict="labels"),
        performance(3, worse=False, estimate_worse=True, verdict=None),
    ]
    told = Record(seconds=12.0)
    for number, report in enumerate(reports):
        rates = {"rate": 0.01 + 0.1 * number, "expected_rate": 0.01, "raised": number in (1, 2)}
        anomalies = rates | {"attributes": {"RELP": 3}}
        told.newest.append({"status": status(number, performance=report), "anomalies": anomalies})
        node = {"rule": "AGEP <= 21", "value": 0.6, "rest": {"value": 0.8}, "rows": 2, "windows": 1}
        hotspots = None if number == 3 else {"overall": 0.8, "data": [node] if number else []}
        groups = [fairness(significant=number == 1)]
        told.labelled.append({"status": status(number), "hotspots": hotspots, "fairness": groups})
    return told


@pytest.fixture(scope="module")
def told() -> reading.Told:
    people = pa.table({train.PREDICTION: [0.1, 0.9, 0.2, 0.8], "RELP": ["0"] * 4, "employed": [0, 1, 0, 1]})
    story = train.Story(train.LinearModel(0.0, {}), people, people, people)
    found = reading.tell(story, [chunk(number) for number in range(4)], record(), TRUE_AUC)
    truth = tuple(Truth(auc, 0.8, 0.5, 0.5) for auc in TRUE_AUC)
    return replace(found, truth=truth, reference=truth[0], least_auc=0.88)


def test_what_was_said_of_each_chunk_is_read_from_the_answers(told: reading.Told) -> None:
    assert [said.labels.auc for said in told.said] == TRUE_AUC
    assert [said.labels.worse for said in told.said] == [False, True, True, False]
    assert [said.labels.verdict for said in told.said] == [False, False, True, False]
    assert [said.drift.persistent for said in told.said] == [(), (), ("RELP",), ("RELP",)]
    assert [said.quality for said in told.said] == [(), (), (), ("number of rows",)]
    assert told.said[3].hotspots is None
    assert told.said[1].groups[0].found == {"1": 0.33, "2": 0.25}
    assert told.said[3].health == "False"


def test_an_estimate_that_is_not_trusted_is_withheld_with_its_reason() -> None:
    untold = record()
    untold.newest[0]["status"]["performance"]["estimated"] |= {"trusted": False, "withheld": "strange rows"}
    untold.newest[1]["status"]["performance"] = None
    of = [chunk(number) for number in range(4)]
    people = pa.table({train.PREDICTION: [0.1, 0.9], "RELP": ["0"] * 2, "employed": [0, 1]})
    story = train.Story(train.LinearModel(0.0, {}), people, people, people)
    said = reading.tell(story, of, untold, TRUE_AUC).said
    assert said[0].estimate.withheld == "strange rows"
    assert said[1].estimate.withheld == "nothing was said"
    assert said[1].labels == Performance(None, None, None, None, False, False, "nothing was said")  # noqa: FBT003


def test_how_near_the_numbers_are_is_told_from_the_truth(told: reading.Told) -> None:
    near = page.page(told, NAMES).split("## How near")[1].split("##")[0]
    assert "differ by nothing, to the last bit" in near  # of the AUC
    assert "differ from scikit-learn's by at most 7.5e-01" in near  # 25 % of women are told, all are found
    assert "in 4 of 4 chunks" in near


def test_what_collapsed_is_what_lies_below_the_bound(told: reading.Told) -> None:
    assert told.collapsed == {1, 2}


def test_misses_and_false_alarms_are_listed(told: reading.Told) -> None:
    text = page.page(told, NAMES)
    wrong = text.split("## What was missed")[1].split("##")[0]
    assert "Missed by “estimate without labels: this chunk is worse”: 1." in wrong
    assert "False alarm of “estimate without labels: this chunk is worse”: 3." in wrong
    assert "Missed by “data quality”: 1–2." in wrong
    assert "False alarm of “data quality”: 3. It said: number of rows." in wrong
    assert "labels, five weeks later: this chunk is worse" not in wrong
    assert "drift of single features" not in wrong


def test_the_summary_tells_the_collapsed_chunks_apart_from_the_others(told: reading.Told) -> None:
    lines = page.page(told, NAMES).splitlines()
    assert "|  | chunk 1 | chunk 2 | the other 2 |" in lines
    (anomaly,) = (line for line in lines if line.startswith("| anomaly rate"))
    assert "**alarm**: 11.0% of people" in anomaly
    assert anomaly.endswith("| no alarm |")
    (slices,) = (line for line in lines if line.startswith("| worst slice |") and "AGEP" in line)
    assert slices.endswith("| no; no verdict in 1: 3 |")


def test_every_chunk_has_its_line(told: reading.Told) -> None:
    table = page.page(told, NAMES).split("## Chunk by chunk")[1]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "chunk" not in line]
    assert [row.split("|")[1].strip() for row in rows] == ["0", "**1**", "**2**", "3"]
    assert "0.850!!" in rows[2]
    assert "25%, 33%!" in rows[1]


def test_the_pictures_are_small_svgs_that_the_page_shows(told: reading.Told) -> None:
    text = page.page(told, NAMES)
    for name, svg in pictures.all_of(told, NAMES).items():
        assert f"(img/{name})" in text
        assert len(svg) < 100_000
        assert ET.fromstring(svg).tag.endswith("svg")


def test_each_detector_has_a_verdict_or_says_that_it_has_none(told: reading.Told) -> None:
    for detector in detectors(NAMES, ["SEX"]):
        for said in told.said:
            assert detector.told(said)
            assert detector.alarm(said) in (True, False, None)


@pytest.mark.parametrize(
    ("chunks", "words"), [([], "none"), ([3], "3"), ([3, 1, 2, 7], "1–3, 7"), ([0, 1], "0–1")]
)
def test_chunks_are_told_as_ranges(chunks: list[int], words: str) -> None:
    assert ranges(chunks) == words


def test_a_record_comes_back_as_it_was_kept(tmp_path: Any) -> None:
    path = tmp_path / "record.json"
    kept = record()
    kept.write(path)
    assert Record.read(path) == kept


def test_the_storys_cell_watches_a_chunk_at_a_time_and_learns_its_thresholds(tmp_path: Any) -> None:
    from modelwarden_server.localfiles import read_folder

    cell.write_yaml(tmp_path)
    settings = read_folder(tmp_path, None).settings()
    assert settings.monitoring.window_seconds == WEEK.total_seconds()
    assert settings.monitoring.drift_threshold is None
    assert settings.monitoring.label_delay_seconds == timedelta(days=35).total_seconds()
    assert settings.enrichments.hotspots.enabled
    assert settings.enrichments.hotspots.window_seconds == WEEK.total_seconds()
    assert settings.enrichments.bias_mitigation.enabled
