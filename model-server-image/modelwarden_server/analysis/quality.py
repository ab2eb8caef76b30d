"""Whether the rows of a window are sound: values missing, out of range, never seen before, more or fewer rows
than usual, rows that come late. From counts alone; pure.

A share is raised if it is more than the reference explains: the exact conditional test of `surplus` at
`CHANCE` over all attributes and questions, and at least `LEAST_SHARE` of the rows and twice the reference's
share. Volume and lag have no reference: they are compared with the windows of the same length before
(`History`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from modelwarden_server.analysis.cells import CategoryCells, Floats, NumericCells
from modelwarden_server.analysis.lag import EDGES, lag_quantile
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile
from modelwarden_server.analysis.surplus import LEAST_SHARE, upper_tail

CHANCE: Final = 0.001
_LEAST_WINDOWS: Final = 3
_WEEK_SECONDS: Final = 7 * 86_400
_KNOWN_FACTOR, _NEW_FACTOR = 2.0, 3.0
_LATE_SHARE: Final = 0.05
_LATE_FROM: Final = 300.0


class Question(StrEnum):
    """What is asked of an attribute."""

    MISSING = "missing"
    OUT_OF_RANGE = "outOfRange"
    UNSEEN = "unseenCategory"


@dataclass(frozen=True, slots=True)
class Asked:
    """One attribute: its counts by cell in the reference (as it is at that time of the season) and the
    window.
    """

    profile: ColumnProfile
    base: Floats
    target: Integers


@dataclass(frozen=True, slots=True)
class ShareFinding:
    """One share of the window's rows beside the reference's. `p_value` is None if too few rows were there to
    ask.
    """

    attribute: str
    question: Question
    rows: int
    share: float
    base_share: float
    p_value: float | None
    raised: bool


@dataclass(frozen=True, slots=True)
class History:
    """Windows of the same length before this one, newest first: rows, and counts by cell of lag, of each."""

    window_seconds: int
    rows: tuple[int, ...]
    lags: tuple[Integers, ...]


@dataclass(frozen=True, slots=True)
class VolumeFinding:
    """Rows of the window and the bounds that they were expected in; None while too little is known."""

    rows: int
    least: float | None
    most: float | None
    raised: bool


@dataclass(frozen=True, slots=True)
class LagFinding:
    """Upper bounds, in seconds, of the lag of half and of 95 % of the rows; `usual` that of 99 % before."""

    median: float | None
    p95: float | None
    usual: float | None
    late_share: float | None
    raised: bool


def shares(columns: Sequence[Asked], minimum_rows: int) -> tuple[ShareFinding, ...]:
    """What there is to say of each attribute. Under `minimum_rows` nothing is raised."""
    asked = [(one, question, cells) for one in columns for question, cells in _questions(one.profile)]
    rule = (minimum_rows, CHANCE / max(1, len(asked)))
    return tuple(_share(one, question, cells, rule) for one, question, cells in asked)


def _questions(profile: ColumnProfile) -> list[tuple[Question, tuple[int, ...]]]:
    cells = profile.cells
    found: list[tuple[Question, tuple[int, ...]]] = [(Question.MISSING, cells.missing)]
    if isinstance(cells, NumericCells) and len(cells.edges):
        found.append((Question.OUT_OF_RANGE, cells.outside))
    if isinstance(cells, CategoryCells) and not cells.overflow:
        found.append((Question.UNSEEN, (cells.unseen,)))
    return found


def _share(asked: Asked, question: Question, cells: tuple[int, ...], rule: tuple[int, float]) -> ShareFinding:
    places = list(cells)
    m, n = float(asked.base.sum()), float(asked.target.sum())
    before, now = float(asked.base[places].sum()), float(asked.target[places].sum())
    share, base_share = (now / n if n else 0.0), (before / m if m else 0.0)
    p = None
    if n >= rule[0] and m:
        p = float(upper_tail(np.array([before]), np.array([now]), m, n)[0])
    large = share >= max(2 * base_share, base_share + LEAST_SHARE)
    raised = p is not None and p < rule[1] and large
    return ShareFinding(asked.profile.column.name, question, int(now), share, base_share, p, raised)


def volume(rows: int, history: History) -> VolumeFinding:
    """Whether there are far fewer or far more rows than in any window before.

    Far: half of the least, twice the most, once a whole week has been seen (its weekend is then among the
    windows); before that a third and three times, and no answer under three windows.
    """
    seen = [r for r in history.rows if r]
    if len(seen) < _LEAST_WINDOWS:
        return VolumeFinding(rows, None, None, raised=False)
    week = history.window_seconds * len(history.rows) >= _WEEK_SECONDS
    factor = _KNOWN_FACTOR if week else _NEW_FACTOR
    low, high = min(seen), max(seen)
    # And at least four standard deviations of a count of independent rows: small windows vary more.
    least, most = max(0.0, min(low / factor, low - 4 * low**0.5)), max(high * factor, high + 4 * high**0.5)
    return VolumeFinding(rows, least, most, not least <= rows <= most)


def lag(counts: Integers, history: History, minimum_rows: int) -> LagFinding:
    """Whether many more rows come later than 99 % of the rows of the windows before did.

    Late is two cells beyond that, at least five minutes; many: 5 % of the rows, and five times the share
    before.
    """
    median, p95 = lag_quantile(counts, 0.5), lag_quantile(counts, 0.95)
    n = int(counts.sum())
    before = [one for one in history.lags if one.sum()]
    if len(before) < _LEAST_WINDOWS or n < minimum_rows:
        return LagFinding(median, p95, None, None, raised=False)
    whole = np.sum(before, axis=0)
    usual = lag_quantile(whole, 0.99)
    late_from = int(np.searchsorted(np.cumsum(whole), 0.99 * whole.sum(), side="left")) + 2
    late_from = max(late_from, int(np.searchsorted(np.array(EDGES), _LATE_FROM, side="right")))
    now, then = int(counts[late_from:].sum()), int(whole[late_from:].sum())
    share, usual_share = now / n, then / int(whole.sum())
    p = upper_tail(np.array([float(then)]), np.array([float(now)]), float(whole.sum()), float(n))[0]
    raised = share >= max(_LATE_SHARE, 5 * usual_share) and float(p) < CHANCE
    return LagFinding(median, p95, usual, share, raised)
