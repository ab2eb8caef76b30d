"""The story as a page: what is true, what each detector said of the collapsed chunks and of all others, and
chunk by chunk. Pure.

What this module must not do: hide a miss or a false alarm. Lists are made from what was said.
"""

from collections.abc import Sequence
from statistics import median

from examples.census.findings import Names
from examples.census.story.chunks import IN_QUARTERS, LABELS_LATE, ROWS, SURE
from examples.census.story.detectors import Detector, anomalies, detectors, hotspots, ranges
from examples.census.story.pictures import NAME
from examples.census.story.reading import Performance, Said, Told
from examples.census.watched_model import hotspot_threshold

COMMAND = "python -m examples.census.story --write"
WHY = """\
That the model got worse is said only when a second chunk of three says so: of two collapsed chunks that
is the later one. `ModelHealthy` weighs more than performance: also rows that come again, predictions
that drift, and pairs of attributes that no longer depend on each other as they did; and where labels are
late, what they say now of a week long gone."""


def page(told: Told, names: Names) -> str:
    """All of it as Markdown."""
    every = detectors(names, [one.attribute for one in told.said[0].groups])
    parts = [_head(told), _truth(told), _summary(told, every), _wrong(told, every), _right(told)]
    return "\n\n".join([*parts, *_pictures(), _slices(told), _by_chunk(told, names)]) + "\n"


def _head(told: Told) -> str:
    return f"""# The census story, chunk by chunk

What each detector said of {len(told.truth)} chunks of {ROWS} people, beside what is true. Written by

```
{COMMAND}
```

which runs one cell (`modelwarden local`, its Jobs as child processes) from the YAML of
[the demo](../examples/census), sends it everything over HTTP and reads its answers
({told.seconds:.0f} s on two cores, not idle). Truth is computed from the tables by scikit-learn, by code that
shares nothing with the cell.

* The data: [{told.rows:,} people of 2016 to 2018](../examples/census/README.md#the-data), in the order of the
  file. Each chunk is sent as a week of its own; its labels follow {LABELS_LATE} weeks after the week's end,
  all at once. The reference is the half of 2015 that the model was not trained on.
* The model: the demo's own, a logistic regression. It is not shown SEX and RAC1P.
* The settings: `window: 7d`, `labelDelay: 35d`, all else left to its defaults, thresholds of drift included.
  Hotspots are regions with an accuracy under {hotspot_threshold():g}."""


def _truth(told: Told) -> str:
    collapsed = sorted(told.collapsed)
    others = [truth for k, truth in enumerate(told.truth) if k not in told.collapsed]
    low, high = min(one.auc for one in others), max(one.auc for one in others)
    without = ranges(k for k, truth in enumerate(told.truth) if truth.in_quarters < 0.01)
    each = "; ".join(
        f"chunk {k}: AUC {told.truth[k].auc:.3f}, {told.truth[k].in_quarters:.0%} in group quarters"
        for k in collapsed
    )
    return f"""## What is true

The AUC of the reference is {told.reference.auc:.3f}. A chunk has collapsed if its AUC is below that by more
than {SURE:g} standard errors of {ROWS} rows (by Hanley and McNeil), that is below {told.least_auc:.3f}.
**{len(collapsed)} of {len(told.truth)} have: {ranges(collapsed)}** ({each}). The others have {low:.3f} to
{high:.3f}. By the scores that the data ships, those of another model, {_shipped(told)}.

Nothing happened to people. From 2017 on the file lists those in group quarters (dormitories, nursing homes,
prisons; RELP {" and ".join(sorted(IN_QUARTERS))}) by themselves. They are {told.reference.in_quarters:.0%} of
the reference; less than one in a hundred in chunks {without}; nearly all of the collapsed chunks."""


def _shipped(told: Told) -> str:
    collapsed = ", ".join(f"chunk {k} has {told.shipped[k]:.3f}" for k in sorted(told.collapsed))
    others = [auc for k, auc in enumerate(told.shipped) if k not in told.collapsed]
    return f"{collapsed}, the others {min(others):.3f} to {max(others):.3f}"


def _summary(told: Told, every: Sequence[Detector]) -> str:
    collapsed = sorted(told.collapsed)
    head = ["", *(f"chunk {k}" for k in collapsed), f"the other {len(told.said) - len(collapsed)}"]
    rows = [head]
    for detector in every:
        shown = [_with_verdict(detector, told.said[k]) for k in collapsed]
        rows.append([f"{detector.name}", *shown, _others(detector, told)])
    return (
        "## In short\n\nThose that call a person come first; what stands below `ModelHealthy` is there to "
        "explain.\n\n" + table(rows)
    )


def _with_verdict(detector: Detector, said: Said) -> str:
    alarm = detector.alarm(said)
    words = ("**alarm**", "silent") if detector.calls else ("**yes**", "no")
    verdict = "no verdict" if alarm is None else words[0] if alarm else words[1]
    return f"{verdict}: {detector.told(said)}"


def _others(detector: Detector, told: Told) -> str:
    alarms = [k for k in detector.alarms(told.said) if k not in told.collapsed]
    silent = [k for k in detector.silent(told.said) if k not in told.collapsed]
    word = "alarm" if detector.calls else "yes"
    found = f"{word} in {len(alarms)}: {ranges(alarms)}" if alarms else f"no {word}".replace("no yes", "no")
    return f"{found}; no verdict in {len(silent)}: {ranges(silent)}" if silent else found


def _wrong(told: Told, every: Sequence[Detector]) -> str:
    lines = []
    for detector in every:
        if not detector.calls:
            continue
        alarms = set(detector.alarms(told.said))
        missed, false = sorted(told.collapsed - alarms), sorted(alarms - told.collapsed)
        if missed:
            lines.append(f"* Missed by “{detector.name}”: {ranges(missed)}.")
        if false:
            because = sorted({detector.told(told.said[k]) for k in false})
            told_of = f" It said: {'; '.join(because[:4])}." if len(because) <= 4 else ""
            lines.append(f"* False alarm of “{detector.name}”: {ranges(false)}.{told_of}")
    found = "\n".join(lines) or "* Nothing was missed, and there was no false alarm."
    return (
        "## What was missed, and what was a false alarm\n\nBy the one truth of this page, the AUC: an alarm "
        "in a chunk that has not collapsed is called false here, even where what it says of the rows is so."
        f"\n\n{found}\n\n{WHY}"
    )


def _right(told: Told) -> str:
    deviations = [
        abs(said.labels.auc - truth.auc)
        for said, truth in zip(told.said, told.truth, strict=True)
        if said.labels.auc is not None
    ]
    estimates = [
        (said.estimate, truth.auc)
        for said, truth in zip(told.said, told.truth, strict=True)
        if said.estimate.auc is not None
    ]
    inside = sum(_holds(estimate, auc) for estimate, auc in estimates)
    errors = [abs((estimate.auc or 0.0) - auc) for estimate, auc in estimates]
    lines = ["## How near the numbers are\n"]
    if deviations:
        lines.append(
            "* The cell's AUC from labels (of a grid of 1001 scores) and scikit-learn's differ by "
            f"{_at_most(deviations)}."
        )
    lines.append(
        "* The shares of people with a job that it finds, of every group that is large enough, differ from "
        f"scikit-learn's by {_at_most(_group_deviations(told))}."
    )
    if errors:
        lines.append(
            f"* The estimate, made before any label came, is off by {median(errors):.4f} in the "
            f"middle and {max(errors):.4f} at most; the truth lies in its interval in {inside} of "
            f"{len(estimates)} chunks."
        )
    return "\n".join(lines)


def _at_most(deviations: Sequence[float]) -> str:
    greatest = max(deviations, default=0.0)
    return f"at most {greatest:.1e}" if greatest else "nothing, to the last bit"


def _group_deviations(told: Told) -> list[float]:
    return [
        abs(share - found[of.attribute][group])
        for said, found in zip(told.said, told.found, strict=True)
        for of in said.groups
        for group, share in of.found.items()
        if share is not None
    ]


def _holds(estimate: Performance, auc: float) -> bool:
    assert estimate.lower is not None
    assert estimate.upper is not None
    return estimate.lower <= auc <= estimate.upper


def _pictures() -> list[str]:
    shown = {
        "auc": "True and estimated AUC by chunk",
        "drift": "Number of drifted features by chunk",
        "anomalies": "Share of anomalous people by chunk",
        "groups": "Share of people with a job that the model finds, by group and chunk",
    }
    head = "## In pictures\n\nThe collapsed chunks are shaded."
    return [head, *(f"![{text}](img/{NAME.format(name)})" for name, text in shown.items())]


def _slices(told: Told) -> str:
    """The worst slices, each once, with the chunks in which it was the worst."""
    worst: dict[str, list[int]] = {}
    for chunk, said in enumerate(told.said):
        if said.hotspots is not None and said.hotspots.slices:
            worst.setdefault(said.hotspots.slices[0].rule, []).append(chunk)
    searched = [k for k, said in enumerate(told.said) if said.hotspots is not None]
    rows = [["worst slice", "chunks", "right there", "right of all others"]]
    for rule, chunks in sorted(worst.items(), key=lambda one: one[1][0]):
        found = [told.said[k].hotspots.slices[0] for k in chunks if told.said[k].hotspots]  # type: ignore[union-attr]
        there = _span([one.value for one in found])
        rows.append([f"`{rule}`", ranges(chunks), there, _span([one.rest for one in found])])
    return (
        f"## Worst slices\n\nThe worst region under an accuracy of {hotspot_threshold():g}, by the labels of "
        "its week; found on one half of the rows, measured on the other. Searched: "
        f"{ranges(searched)}. A week is searched once later inferences reach beyond it "
        "by the delay of labels, so the last ones are not.\n\n" + table(rows)
    )


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0%}", f"{max(values):.0%}"
    return low if low == high else f"{low} to {high}"


def _by_chunk(told: Told, names: Names) -> str:
    groups = [names.attributes.get(one.attribute, one.attribute) for one in told.said[0].groups]
    head = ["chunk", "in quarters", "true AUC", "estimated", "by labels", "drifted", "quality", "anomalies"]
    rows = [[*head, *(f"{label}: worst, best" for label in groups), "worst slice", "healthy"]]
    for chunk, (truth, said) in enumerate(zip(told.truth, told.said, strict=True)):
        rows.append(
            [
                f"**{chunk}**" if chunk in told.collapsed else str(chunk),
                f"{truth.in_quarters:.0%}",
                f"{truth.auc:.3f}",
                _short(said.estimate),
                _short(said.labels),
                f"{len(said.drift.drifted)} ({len(said.drift.persistent)})",
                ", ".join(said.quality),
                anomalies(said).split(" of")[0] + ("!" if said.anomalies.raised else ""),
                *(_pair(said, place) for place in range(len(groups))),
                hotspots(said),
                said.health,
            ]
        )
    return (
        "## Chunk by chunk\n\n`!` marks what is worse, raised or more than chance; `!!` that the model got "
        "worse. Drifted features: in brackets those that persist. Groups: the share that the model finds of "
        "people with a job.\n\n" + table(rows)
    )


def _short(of: Performance) -> str:
    value = "–" if of.auc is None else f"{of.auc:.3f}"
    return value + (" withheld" if of.withheld else "!!" if of.verdict else "!" if of.worse else "")


def _pair(said: Said, place: int) -> str:
    of = said.groups[place]
    if of.lowest is None or of.highest is None:
        return "–"
    low, high = of.found[of.lowest] or 0.0, of.found[of.highest] or 0.0
    return f"{low:.0%}, {high:.0%}" + ("!" if of.significant else "")


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
