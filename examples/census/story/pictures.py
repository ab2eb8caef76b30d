"""The pictures of the story, by file name. Pure.

What this module must not do: decide what is an alarm.
"""

from collections.abc import Callable

from examples.census.findings import Names
from examples.census.story.plot import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    Band,
    Bars,
    Level,
    Line,
    Marks,
    Panel,
    Picture,
    Scale,
    Sign,
)
from examples.census.story.reading import Groups, Said, Told

STYLES: tuple[tuple[str, Sign, str], ...] = (
    (BLUE, "square", ""),
    (ORANGE, "triangle", ""),
    (GREEN, "diamond", "5 2"),
    (PURPLE, "dot", "2 2"),
    (YELLOW, "square", "6 2 2 2"),
    (SKY, "triangle", "1 2"),
)
NAME = "census-story-{}.svg"


def all_of(told: Told, names: Names) -> dict[str, str]:
    """Every picture as SVG, by file name."""
    made = {
        "auc": auc(told),
        "drift": drift(told),
        "anomalies": anomalies(told),
        "groups": groups(told, names),
    }
    return {NAME.format(name): picture.svg() for name, picture in made.items()}


def auc(told: Told) -> Picture:
    """True and estimated AUC, and who says that it got worse."""
    estimates = [one.estimate for one in told.said]
    panel = Panel(
        "AUC",
        Scale(0.76, 0.92, (0.76, 0.8, 0.84, 0.88, 0.92), "{:.2f}"),
        [
            Band("95 % of the estimate", [e.lower for e in estimates], [e.upper for e in estimates], SKY),
            Line("estimated without labels", [e.auc for e in estimates], BLUE, "square", "4 2"),
            Line("true", [truth.auc for truth in told.truth], BLACK, "dot"),
            Level("collapse", told.least_auc, ORANGE),
        ],
        height=220,
    )
    marks = (
        _marks("worse: estimate", told, lambda said: said.estimate.worse, (BLUE, "triangle")),
        _marks("got worse: estimate", told, lambda said: said.estimate.verdict, (BLUE, "square")),
        _marks("worse: labels", told, lambda said: said.labels.worse, (ORANGE, "triangle")),
        _marks("got worse: labels", told, lambda said: said.labels.verdict, (ORANGE, "square")),
        _marks(
            "estimate withheld", told, lambda said: said.estimate.withheld is not None, (BLACK, "diamond")
        ),
    )
    return Picture(
        "How right the model is: true AUC, and estimated before any label came",
        len(told.said),
        [panel],
        marks,
        told.collapsed,
    )


def drift(told: Told) -> Picture:
    """How many features drifted."""
    most = max(1, *(one.drift.checked for one in told.said))
    panel = Panel(
        "features",
        Scale(0, most, (0, 5, 10, 15)),
        [
            Bars("drifted", [len(one.drift.drifted) for one in told.said], SKY),
            Bars("of these, in a chunk before too", [len(one.drift.persistent) for one in told.said], BLUE),
        ],
        height=110,
    )
    marks = (
        _marks("pairs broken", told, lambda said: bool(said.drift.pairs), (PURPLE, "diamond")),
        _marks("data quality", told, lambda said: bool(said.quality), (ORANGE, "square")),
    )
    title = f"Features that drifted, of {most}"
    return Picture(title, len(told.said), [panel], marks, told.collapsed)


def anomalies(told: Told) -> Picture:
    """How many people are unlike the reference."""
    rates = [100 * one.anomalies.rate for one in told.said]
    ceiling = 5 * (int(max(rates)) // 5 + 1)
    panel = Panel(
        "% of people",
        Scale(0, ceiling, tuple(float(tick) for tick in range(0, ceiling + 1, max(1, ceiling // 5)))),
        [
            Bars("beyond the reference's 99th percentile", rates, BLUE),
            Level("expected", 100 * told.said[0].anomalies.expected),
        ],
        height=110,
    )
    raised = _marks("raised", told, lambda said: said.anomalies.raised, (ORANGE, "triangle"))
    title = "Anomalies: people unlike nearly all of the reference"
    return Picture(title, len(told.said), [panel], (raised,), told.collapsed)


def groups(told: Told, names: Names) -> Picture:
    """Of the people with a job, whom the model finds, by group."""
    panels, marks = [], []
    for place, first in enumerate(told.said[0].groups):
        of = [one.groups[place] for one in told.said]
        label = names.attributes.get(first.attribute, first.attribute)
        panels.append(Panel(label, Scale(0, 1, (0, 0.25, 0.5, 0.75, 1)), _lines(of, names), height=150))
        differ = frozenset(k for k, one in enumerate(of) if one.significant)
        marks.append(Marks(f"{label}: differ", differ, ORANGE, "triangle"))
    title = "Of the people with a job, the share that the model finds, by group"
    return Picture(title, len(told.said), panels, tuple(marks), told.collapsed)


def _lines(of: list[Groups], names: Names) -> list[Line]:
    """The groups that are large enough in most chunks."""
    codes = dict.fromkeys(code for one in of for code in one.found)
    values = {code: [one.found.get(code) for one in of] for code in codes}
    large = [code for code in codes if sum(v is not None for v in values[code]) > len(of) / 2]
    return [
        Line(names.group(of[0].attribute, code), values[code], colour, sign, dash)
        for code, (colour, sign, dash) in zip(large, STYLES, strict=False)
    ]


def _marks(name: str, told: Told, so: Callable[[Said], bool], style: tuple[str, Sign]) -> Marks:
    return Marks(name, frozenset(k for k, said in enumerate(told.said) if so(said)), *style)
