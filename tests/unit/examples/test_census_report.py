"""The figures the demo ends with: which features drifted, in which month, and the file it leaves."""

import io
import json
import math
from pathlib import Path

import pandas as pd
from rich.console import Console

from examples.census import report

SCORES = pd.DataFrame(
    {"calm": [0.01, 0.02, 0.03], "late": [0.05, 0.15, 0.3], "burst": [0.1, 2.5, math.nan]},
    index=pd.DatetimeIndex(["2017-11-01", "2017-12-01", "2018-01-01"], tz="UTC"),
)


LABELLED = pd.DataFrame(
    {"rows": [10, 20, 30], "labelled": [1.0, 0.5, 0.0], "auc": [0.9, 0.7, math.nan]}, index=SCORES.index
)


def test_each_window_names_what_drifted_the_worst_first() -> None:
    found = list(report.windows(SCORES.assign(worse=[0.0, 3.0, 0.0]), LABELLED.iloc[:2], 0.2))
    assert [window.drifted for window in found] == [(), ("worse", "burst"), ("late",)]
    assert [(window.rows, window.labelled) for window in found] == [(10, 1.0), (20, 0.5), (0, 0.0)]
    assert (found[1].start, found[1].end) == ("2017-12-01T00:00:00+00:00", "2018-01-01T00:00:00+00:00")


def test_a_feature_that_drifted_once_is_named_the_worst_first() -> None:
    assert report.features_drifted(SCORES, 0.2) == ("burst", "late")


def test_the_table_reads_without_colours() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(report.drift_table(SCORES, 0.2, {"burst": "A label"}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line for line in shown.splitlines() if line.strip().startswith(tuple(SCORES.columns))]
    assert [line.split()[0] for line in rows] == ["burst", "late", "calm"]
    assert "A label" in rows[0]
    assert "·█" in rows[0]
    assert "2.500" in rows[0]
    assert "2017-12" in rows[0]
    assert "▄" in rows[1]


def test_the_labels_are_shown_as_far_as_they_have_come() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(report.label_table(LABELLED))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    share, curve = (next(line for line in shown.splitlines() if word in line) for word in ("with a", "AUC"))
    assert share.split() == ["with", "a", "label", "█▄", "·", "0%", "2018-01", "0%"]
    assert curve.split() == ["AUC", "of", "those", "█▁", "0.700", "2017-12", "0.700"]


def test_without_any_label_there_is_nothing_to_be_right_about() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(report.label_table(LABELLED.assign(labelled=0.0, auc=math.nan)))
    assert "AUC" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_summary_holds_exactly_what_was_agreed_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    summary = report.Summary(
        model="employment",
        namespace="census",
        reference_rows=1,
        sent=2,
        acknowledged=2,
        stored=2,
        rejected=0,
        labels=report.Labels(2, 2, 2, 0, 1),
        windows=(report.Window("a", "b", 2, 0.5, ("x",)),),
        features_drifted=("x",),
        findings=("It is right.",),
        seconds=1.5,
        reach=report.Reach("k", "u", "s", "t"),
    )
    path = tmp_path / "deep" / "summary.json"
    summary.write(path)
    read = json.loads(path.read_text())
    assert set(read) == {
        "model", "namespace", "reference_rows", "sent", "acknowledged", "stored", "rejected", "labels",
        "windows", "features_drifted", "findings", "seconds", "reach",
    }  # fmt: skip
    assert set(read["labels"]) == {"sent", "acknowledged", "stored", "rejected", "to_come"}
    assert set(read["windows"][0]) == {"start", "end", "rows", "labelled", "drifted"}
    assert set(read["reach"]) == {"kubeconfig", "url", "key", "tables"}
    assert path.stat().st_mode & 0o077 == 0
