"""What matters in a window: from counts where it is whole slices or a batch; and how that agrees with the
reference.

The newest window is looked at anew only when counts have changed. Must not know HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.derived.counts import TableCounts
from modelwarden_server.explanations.agreement import DRIFTED, agreement
from modelwarden_server.explanations.reference import ReferenceImportance
from modelwarden_server.explanations.space import Importance, ImportanceSpace, WindowCounts

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """A window of event time [start, end) or a batch; nothing: the newest window."""

    start: datetime | None = None
    end: datetime | None = None
    batch: str | None = None


class OddSpanError(ValueError):
    """A window that is not whole slices of time. The message says what to ask for."""


@dataclass(frozen=True)
class Found:
    """What is said of a window."""

    span: Span
    counts: WindowCounts
    agreement: float | None


@dataclass
class ImportanceWindows:
    """Of one cell. `reference` gives what matters for the reference, None while that is not known."""

    space: ImportanceSpace
    reference: Callable[[], ReferenceImportance | None]
    counts: TableCounts | None = None
    _for: tuple[object, ...] | None = field(default=None, init=False)
    _last: Found | None = field(default=None, init=False)

    def newest(self, window_seconds: int) -> Found | None:
        """The window that ends with the newest explained row; None while there is none."""
        counts = self.counts
        if counts is None:
            return None
        newest = counts.newest_slice()
        if newest is None:
            return None
        asked = (newest, counts.folded, window_seconds, self.reference())
        if asked != self._for:
            end = newest + 1
            span = Span(_at(end - window_seconds // SLICE_SECONDS), _at(end))
            self._last, self._for = self.of(span), asked
        return self._last

    def of(self, span: Span) -> Found:
        """A span that is whole, or a batch. Raises OddSpanError."""
        assert self.counts is not None
        if span.batch is not None:
            told = self.space.told(self.counts.batch(span.batch))
        else:
            start, end = _slice(span.start, "start"), _slice(span.end, "end")
            told = self.space.told(self.counts.window(start, end))
        return Found(span, told, self._agreement(told.importance))

    def _agreement(self, importance: Importance | None) -> float | None:
        reference = self.reference()
        if importance is None or reference is None or reference.kind != kind_of(importance):
            return None
        if reference.inputs != importance.inputs:
            return None
        known = np.asarray(reference.means, dtype=np.float64)
        return agreement(importance.values.mean(axis=0), known)

    def told(self, found: Found) -> dict[str, Any]:
        """The answer about a window, as JSON."""
        importance, reference = found.counts.importance, self.reference()
        outputs = []
        if importance is not None:
            for place, name in enumerate(importance.outputs):
                ranked = sorted(
                    zip(importance.inputs, importance.values[place].tolist(), strict=True),
                    key=lambda one: (-one[1], one[0]),
                )
                scores = [{"attribute_name": of, "importance": value} for of, value in ranked]
                outputs.append({"predicted_attribute_name": name, "importance": scores})
        return {
            "start": found.span.start,
            "end": found.span.end,
            "batch_id": found.span.batch,
            "explained": found.counts.explained,
            "failed": found.counts.failed,
            "algorithm": None if importance is None else importance.algorithm,
            "units": None if importance is None else "margin" if importance.margin else self.space.own_units,
            "rows": 0 if importance is None else importance.rows,
            "global_importance": outputs,
            "agreement": found.agreement,
            "agreement_threshold": DRIFTED,
            "drifted": None if found.agreement is None else found.agreement < DRIFTED,
            "reference_importance": None
            if reference is None
            else dict(zip(reference.inputs, reference.means, strict=True)),
            "computed_from": "partials",
        }


def kind_of(importance: Importance) -> str:
    """What must be the same for importances to be compared."""
    return f"{importance.algorithm}{' margin' if importance.margin else ''}"


def _slice(at: datetime | None, name: str) -> int:
    if at is None:
        raise OddSpanError(f"{name}: is missing: give start and end, or batch_id, or none of them")
    place, rest = divmod((at - _EPOCH).total_seconds(), SLICE_SECONDS)
    if rest:
        raise OddSpanError(f"{name}: must be a whole five minutes; ask a query for any other window")
    return int(place)


def _at(place: int) -> datetime:
    return _EPOCH + timedelta(seconds=place * SLICE_SECONDS)
