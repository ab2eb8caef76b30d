"""The story as a page: what is true, what each detector said of the collapsed chunks and of all others, and
chunk by chunk. Pure.

What this module must not do: hide a miss or a false alarm. Lists are made from what was said.
"""

from collections.abc import Sequence

from examples.census.story.detectors import DETECTORS, Detector, ranges
from examples.census.story.reading import Told

COMMAND = "python -m examples.census.story --write"


def page(told: Told) -> str:
    """All of it as Markdown."""
    return "\n\n".join([_head(told), _summary(told), _by_chunk(told)]) + "\n"


def _head(told: Told) -> str:
    return f"# The census story, chunk by chunk\n\n```\n{COMMAND}\n```\n\n{told.rows:,} people"


def _summary(told: Told) -> str:
    collapsed = sorted(told.collapsed)
    rows = [["detector", *(f"chunk {k}" for k in collapsed), "alarms in the others"]]
    for detector in DETECTORS:
        shown = [_with_verdict(detector, told, k) for k in collapsed]
        others = [k for k in detector.alarms(told.said) if k not in told.collapsed]
        rows.append([detector.name, *shown, f"{len(others)}: {ranges(others)}" if others else "none"])
    return "## In short\n\n" + table(rows)


def _with_verdict(detector: Detector, told: Told, chunk: int) -> str:
    said = told.said[chunk]
    alarm = detector.alarm(said)
    verdict = "no verdict" if alarm is None else "**alarm**" if alarm else "silent"
    return f"{verdict}: {detector.told(said)}"


def _by_chunk(told: Told) -> str:
    rows = [["chunk", "AUC", *(detector.name for detector in DETECTORS)]]
    for chunk, (truth, said) in enumerate(zip(told.truth, told.said, strict=True)):
        name = f"**{chunk}**" if chunk in told.collapsed else str(chunk)
        rows.append([name, f"{truth.auc:.3f}", *(detector.told(said) for detector in DETECTORS)])
    return "## Chunk by chunk\n\n" + table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
