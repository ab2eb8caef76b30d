"""The documented table behind a PSI: bucket by bucket, both sides and the term it adds. The terms of one
period and group add up to the PSI of the drift query.

An empty side counts as half a row in shares and logarithms, as in the PSI (see `analysis.distances`);
`count_per_bucket` and `total` are rows as they are. Must not know HTTP.
"""

from typing import Any

import numpy as np

from modelwarden_server.analysis.buckets import IGNORED, Buckets
from modelwarden_server.analysis.cells import CategoryCells, NumericCells
from modelwarden_server.analysis.distances import Metric
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile
from modelwarden_server.query.drift_answer import Sources, count
from modelwarden_server.query.request import DriftQuery, QueryError
from modelwarden_server.query.scan import Deadline

_HALF_ROW = 0.5


def bucket_table(query: DriftQuery, sources: Sources, deadline: Deadline) -> dict[str, Any]:
    """The answer for the one property of `query`. Raises QueryError, QueryTooLargeError."""
    if query.metric != Metric.PSI or len(query.properties) != 1:
        raise QueryError("property: name one attribute")
    counted = count(query, sources, deadline)
    (name,) = query.properties
    labels = _labels(counted.profiles[name], counted.layouts[name])
    rows = []
    for key, targets in counted.targets.items():
        more = {"rollup": key[0] if query.rollup else None}
        groups = dict(zip(query.group_by, key[1:], strict=True))
        more["group_by_property"] = next(iter(groups.values()), None)
        for label, one in zip(labels, _terms(counted.base[name], targets[name]), strict=True):
            rows.append(label | one | more | groups)
    return {"query_result": rows, **counted.origin}


def _terms(base: Integers, target: Integers) -> list[dict[str, Any]]:
    sides = {"base": base, "target": target}
    shares = {
        side: np.where(counts > 0, counts, _HALF_ROW) / max(1, int(counts.sum()))
        for side, counts in sides.items()
    }
    used = (base > 0) | (target > 0)
    rows = []
    for bucket in range(len(base)):
        row: dict[str, Any] = {}
        for side, counts in sides.items():
            p = float(shares[side][bucket]) if used[bucket] and counts.sum() else None
            row |= {
                f"{side}_count_per_bucket": int(counts[bucket]),
                f"{side}_total": int(counts.sum()),
                f"{side}_probability_per_bucket": p,
                f"{side}_ln_probability_per_bucket": None if p is None else float(np.log(p)),
            }
        p, q = row["base_probability_per_bucket"], row["target_probability_per_bucket"]
        known = p is not None and q is not None
        row["probability_difference"] = p - q if known else None
        row["ln_probability_difference"] = float(np.log(p) - np.log(q)) if known else None
        row["psi"] = float((p - q) * (np.log(p) - np.log(q))) if known else 0.0 if not used[bucket] else None
        rows.append(row)
    return rows


def _labels(profile: ColumnProfile, layout: Buckets) -> list[dict[str, Any]]:
    """What each bucket is: a name, and for numbers the ends, null where it is open."""
    cells = profile.cells
    found: list[dict[str, Any]] = [
        {"bucket": f"bucket_{n + 1}", "base_bucket_min": None, "base_bucket_max": None}
        for n in range(layout.size)
    ]
    if isinstance(cells, CategoryCells):
        names = [*cells.values, "other", "unseen", "missing"]
        for cell, bucket in enumerate(layout.bucket_of):
            if bucket != IGNORED:
                found[bucket]["bucket"] = names[cell]
    elif isinstance(cells, NumericCells):
        inner = layout.bucket_of[: cells.intervals]
        if (
            cells.discrete
            and len(cells.points) < layout.size
            and len(set(inner.tolist())) == len(cells.points) + 1
        ):
            for place, point in enumerate(cells.points):
                found[place] |= {"base_bucket_min": point, "base_bucket_max": point}
            found[len(cells.points)]["bucket"] = "other"
        else:
            _ends(found, inner.tolist(), cells.edges.tolist())
        if layout.bucket_of[cells.missing[0]] != IGNORED:
            found[layout.bucket_of[cells.missing[0]]]["bucket"] = "missing"
    return [
        one | {f"target_{end}": one[f"base_{end}"] for end in ("bucket_min", "bucket_max")} for one in found
    ]


def _ends(found: list[dict[str, Any]], bucket_of: list[int], edges: list[float]) -> None:
    """Lower and upper end of each bucket of intervals: `[min, max)`."""
    for place in range(1, len(bucket_of)):
        if bucket_of[place] != bucket_of[place - 1]:
            found[bucket_of[place]]["base_bucket_min"] = edges[place - 1]
            found[bucket_of[place - 1]]["base_bucket_max"] = edges[place - 1]
