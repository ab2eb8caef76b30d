"""What the demo shows and writes down at its end: the drift table, the summary file.

What this module must not do: ask anybody anything; it is given frames and numbers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Window:
    """One month: from `start` to `end` (excluded), the rows sent in it, the share of them that has a label by
    now, the features whose score is over the threshold.
    """

    start: str
    end: str
    rows: int
    labelled: float
    drifted: tuple[str, ...]


@dataclass(frozen=True)
class Reach:
    """How to get at what the demo left running."""

    kubeconfig: str
    url: str
    key: str
    tables: str


@dataclass(frozen=True)
class Labels:
    """What became of the labels; `stored` is counted as that of the rows, `to_come` become known later."""

    sent: int
    acknowledged: int
    stored: int
    rejected: int
    to_come: int


@dataclass(frozen=True)
class Summary:
    """What happened, for people and for CI. Counts are rows."""

    model: str
    namespace: str
    reference_rows: int
    sent: int
    acknowledged: int
    stored: int
    """Counted by reading the Delta table without our own code."""
    rejected: int
    labels: Labels
    windows: tuple[Window, ...]
    features_drifted: tuple[str, ...]
    """Features that were over the threshold in at least one window, the worst first."""
    findings: tuple[str, ...]
    """How the model does, each in a sentence."""
    seconds: float
    reach: Reach | None
    """None when nothing was left running."""

    def write(self, path: Path) -> None:
        """Writes the summary as JSON, readable by its owner only: it holds the cell's key."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def windows(scores: pd.DataFrame, labelled: pd.DataFrame, threshold: float) -> Iterator[Window]:
    """The windows of a drift frame (index: start of month) with what drifted in each, the worst feature
    first. `labelled` has `rows` and `labelled` by the same index.
    """
    for start, scored in scores.iterrows():
        assert isinstance(start, pd.Timestamp)
        over = scored[scored > threshold].sort_values(ascending=False)
        end = start + pd.offsets.MonthBegin(1)
        yield Window(
            start.isoformat(),
            end.isoformat(),
            int(labelled["rows"].get(start) or 0),
            round(float(labelled["labelled"].get(start) or 0.0), 4),
            tuple(str(name) for name in over.index),
        )


def features_drifted(scores: pd.DataFrame, threshold: float) -> tuple[str, ...]:
    """Features over the threshold in at least one window, the worst first."""
    worst = scores.max().sort_values(ascending=False)
    return tuple(str(name) for name in worst[worst > threshold].index)


def drift_table(scores: pd.DataFrame, threshold: float, labels: Mapping[str, str]) -> Table:
    """Features by windows, the worst first: a sign a month, a block a year, then the numbers that matter."""
    title = f"Drift from the reference, PSI by month (threshold {threshold:g})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("feature", no_wrap=True)
    by_year = _years(scores)
    for year, _ in by_year:
        table.add_column(str(year), no_wrap=True)
    table.add_column("worst", justify="right")
    table.add_column("in")
    table.add_column("latest", justify="right")
    for name in scores.max().sort_values(ascending=False).index:
        column = scores[name]
        strips = [_strip(column.loc[months], threshold) for _, months in by_year]
        table.add_row(
            _named(str(name), labels),
            *strips,
            _number(float(column.max()), threshold),
            _month(column.idxmax()),
            _number(float(column.iloc[-1]), threshold),
        )
    table.caption = "█ over the threshold   ▄ over half of it   · under   (space: too few rows)"
    table.caption_justify = "left"
    return table


def label_table(labelled: pd.DataFrame) -> Table:
    """By month, a block a year: the share of people whose label has come, and how right the model was on
    those (AUC, from the worst month to the best).
    """
    table = Table(title="Labels by month, as far as they have come", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    by_year = _years(labelled)
    for year, _ in by_year:
        table.add_column(str(year), no_wrap=True)
    for heading in ("lowest", "in", "latest"):
        table.add_column(heading, justify="left" if heading == "in" else "right")
    shares, curve = labelled["labelled"], labelled["auc"]
    covered = [_covered(shares.loc[months]) for _, months in by_year]
    table.add_row(
        "with a label", *covered, f"{shares.min():.0%}", _month(shares.idxmin()), f"{shares.iloc[-1]:.0%}"
    )
    known = curve.dropna()
    if len(known):
        bars = [_bars(curve.loc[months], known.min(), known.max()) for _, months in by_year]
        latest = f"{known.iloc[-1]:.3f}"
        table.add_row("AUC of those", *bars, f"{known.min():.3f}", _month(known.idxmin()), latest)
    table.caption = "█ every label has come   ▄ some   · none yet"
    table.caption_justify = "left"
    return table


def _years(frame: pd.DataFrame) -> list[tuple[int, list[pd.Timestamp]]]:
    starts = [start for start in frame.index if isinstance(start, pd.Timestamp)]
    return [(year, list(group)) for year, group in groupby(starts, key=lambda start: start.year)]


def _month(start: object) -> str:
    assert isinstance(start, pd.Timestamp)
    return start.strftime("%Y-%m")


def _covered(shares: "pd.Series[Any]") -> str:
    return "".join("█" if share == 1 else "▄" if share > 0 else "·" for share in shares)


def _bars(values: "pd.Series[Any]", lowest: float, highest: float) -> str:
    signs = "▁▂▃▄▅▆▇█"
    step = (highest - lowest) / (len(signs) - 1) or 1.0
    return "".join(" " if pd.isna(value) else signs[round((value - lowest) / step)] for value in values)


def _named(name: str, labels: Mapping[str, str]) -> Text:
    text = Text(name, style="bold")
    if name in labels:
        text.append(f"  {labels[name]}", style="dim not bold")
    return text


def _strip(scores: "pd.Series[Any]", threshold: float) -> Text:
    strip = Text()
    for score in scores:
        if pd.isna(score):
            strip.append(" ")
        elif score > threshold:
            strip.append("█", style=_style(score, threshold))
        else:
            strip.append("▄" if score > threshold / 2 else "·", style=_style(score, threshold))
    return strip


def _number(score: float, threshold: float) -> Text:
    return Text("–" if pd.isna(score) else f"{score:.3f}", style=_style(score, threshold))


def _style(score: float, threshold: float) -> str:
    if pd.isna(score) or score <= threshold / 2:
        return "dim"
    return "yellow" if score <= threshold else ("red" if score <= 2 * threshold else "bold red")
