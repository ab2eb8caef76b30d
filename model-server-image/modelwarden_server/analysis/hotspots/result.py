"""Findings as they are kept: what a training says of one window, as JSON and small arrays, and back.

Only rules that are worse than the rest for certain, by at least one metric, are kept: any metric and any
threshold can be asked of them later without the rows. Must not search or measure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.choose import Judged, certain, chosen
from modelwarden_server.analysis.hotspots.find import Findings
from modelwarden_server.analysis.hotspots.measure import Measured, Overlaps
from modelwarden_server.analysis.hotspots.outcomes import Classified, Metric
from modelwarden_server.analysis.hotspots.rules import Rule, rule_of

MOST_RULES: Final = 200
MOST_CLASSES: Final = 20
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Since when a rule is known: the first window that showed it, and how many did, this one included."""

    first: str
    windows: int = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A rule of an earlier window, that is measured again."""

    rule: Rule
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class Found:
    """One rule: rows in both halves, what each metric says on the judged half, and since when it is known.

    `classes`: true class, predicted class, rows of the judged half; empty for regressions and for many
    classes.
    """

    rule: Rule
    rows: int
    judged_rows: int
    metrics: Mapping[Metric, Measured]
    lineage: Lineage
    classes: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """What one window came to. `rows` were seen, `labelled` of them have a label, `judged` were measured on.

    `overall`: each metric of all judged rows. `notes`: why a metric was not searched.
    """

    rows: int
    labelled: int
    judged: int
    found: tuple[Found, ...]
    overlaps: Mapping[Metric, Overlaps]
    shared: npt.NDArray[np.float64]
    overall: Mapping[Metric, float | None]
    notes: Mapping[Metric, str]

    def judgement(self, metric: Metric) -> Judged | None:
        """All kept rules by one metric; None for a metric that this model does not have."""
        if metric not in self.overlaps:
            return None
        return Judged([one.metrics[metric] for one in self.found], self.overlaps[metric], self.shared)


@dataclass(frozen=True, eq=False)
class Seen:
    """What `told` needs beside the findings: rows, the judged rows, and classes if there are any."""

    rows: int
    labelled: int
    judged: npt.NDArray[np.bool_]
    classified: Classified | None
    known: Sequence[Known]
    window: str
    """The name of this window, for lineages."""


def result_of(findings: Findings, seen: Seen) -> Result:
    """What is kept of findings."""
    metrics = list(findings.judged)
    kept = [
        place
        for place in range(len(findings.rules))
        if any(certain(findings.judged[metric].measured[place]) for metric in metrics)
    ][:MOST_RULES]
    at = np.ix_(kept, kept)
    return Result(
        rows=seen.rows,
        labelled=seen.labelled,
        judged=int(seen.judged.sum()),
        found=tuple(_found(findings, place, seen) for place in kept),
        overlaps={
            metric: Overlaps(one.overlaps.echo[at], one.overlaps.explained[at])
            for metric, one in findings.judged.items()
        },
        shared=next(iter(findings.judged.values())).shared[at] if metrics else np.zeros((0, 0)),
        overall=findings.overall,
        notes=findings.notes,
    )


def _found(findings: Findings, place: int, seen: Seen) -> Found:
    rule, mask = findings.rules[place], findings.masks[place]
    return Found(
        rule=rule,
        rows=findings.rows[place],
        judged_rows=int(mask.sum()),
        metrics={metric: judged.measured[place] for metric, judged in findings.judged.items()},
        lineage=_lineage(findings, mask, seen),
        classes=_classes(mask, seen),
    )


def _lineage(findings: Findings, mask: npt.NDArray[np.bool_], seen: Seen) -> Lineage:
    """That of the known rule with which it shares the most of both rules' rows, at least half."""
    best, lineage = 0.5, Lineage(seen.window)
    for known in seen.known:
        if known.rule not in findings.rules:
            continue
        other = findings.masks[findings.rules.index(known.rule)]
        either = int((mask | other).sum())
        alike = int((mask & other).sum()) / either if either else 0.0
        if alike >= best:
            best, lineage = alike, Lineage(known.lineage.first, known.lineage.windows + 1)
    return lineage


def _classes(mask: npt.NDArray[np.bool_], seen: Seen) -> tuple[tuple[str, str, int], ...]:
    classified = seen.classified
    if classified is None or len(classified.classes) > MOST_CLASSES:
        return ()
    many = len(classified.classes)
    labelled = classified.labelled[seen.judged] & mask
    true, predicted = (side[seen.judged][labelled] for side in (classified.true, classified.predicted))
    counts = np.bincount(true.astype(np.int64) * many + predicted, minlength=many * many)
    return tuple(
        (classified.classes[place // many], classified.classes[place % many], int(counts[place]))
        for place in np.flatnonzero(counts).tolist()
    )


def written(result: Result) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The result as JSON and arrays."""
    arrays: dict[str, npt.NDArray[Any]] = {"shared": result.shared}
    for metric, one in result.overlaps.items():
        arrays[f"echo_{metric.value}"] = one.echo
        arrays[f"explained_{metric.value}"] = one.explained
    told = {
        "seen": result.rows,
        "labelled": result.labelled,
        "judged": result.judged,
        "overall": {metric.value: value for metric, value in result.overall.items()},
        "notes": {metric.value: note for metric, note in result.notes.items()},
        "found": [_written(one) for one in result.found],
    }
    return told, arrays


def _written(one: Found) -> dict[str, Any]:
    return {
        "region": one.rule.region,
        "rows": one.rows,
        "judgedRows": one.judged_rows,
        "metrics": {metric.value: asdict(measured) for metric, measured in one.metrics.items()},
        "lineage": asdict(one.lineage),
        "classes": [list(entry) for entry in one.classes],
    }


def read(told: Mapping[str, Any], arrays: Arrays) -> Result:
    """The result that `written` wrote. Raises ValueError for anything else."""
    try:
        found = tuple(_read(one) for one in told["found"])
        metrics = [Metric(name) for name in told["overall"]]
        result = Result(
            rows=int(told["seen"]),
            labelled=int(told["labelled"]),
            judged=int(told["judged"]),
            found=found,
            overlaps={m: Overlaps(arrays[f"echo_{m}"], arrays[f"explained_{m}"]) for m in metrics},
            shared=arrays["shared"],
            overall={m: told["overall"][m.value] for m in metrics},
            notes={Metric(name): str(note) for name, note in told["notes"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no result of hotspots: {type(error).__name__} {error}") from None
    _check(result, metrics)
    return result


def _check(result: Result, metrics: Sequence[Metric]) -> None:
    many = len(result.found)
    shapes = {
        result.shared.shape,
        *(a.shape for o in result.overlaps.values() for a in (o.echo, o.explained)),
    }
    if many > MOST_RULES or shapes != {(many, many)}:
        raise ValueError(f"this is no result of hotspots: {many} rules, arrays of shapes {sorted(shapes)}")
    for metric in metrics:
        for one in result.found:
            if not 0 <= one.metrics[metric].p_adjusted <= 1:
                raise ValueError(f"this is no result of hotspots: a p of {metric} is not between 0 and 1")


def _read(one: Mapping[str, Any]) -> Found:
    return Found(
        rule=rule_of(one["region"]),
        rows=int(one["rows"]),
        judged_rows=int(one["judgedRows"]),
        metrics={Metric(name): Measured(**measured) for name, measured in one["metrics"].items()},
        lineage=Lineage(str(one["lineage"]["first"]), int(one["lineage"]["windows"])),
        classes=tuple((str(t), str(p), int(n)) for t, p, n in one["classes"]),
    )


def to_follow(result: Result, most: int = 20) -> tuple[Known, ...]:
    """The rules that the next window measures again: those that any metric tells, without thresholds."""
    places: dict[int, None] = {}
    for metric in result.overlaps:
        judged = result.judgement(metric)
        if judged is not None and metric is not Metric.ESTIMATED_LOSS:
            places |= dict.fromkeys(chosen(judged, lambda one: (one.difference or 0.0) > 0))
    return tuple(
        Known(result.found[place].rule, result.found[place].lineage) for place in list(places)[:most]
    )
