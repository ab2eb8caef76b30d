"""How a reference varies by itself over time, and what a window may be compared with because of that.

A reference that covers weekdays and weekends is a mixture: no window looks like it, and none has drifted.
So the reference is cut into blocks of time, and the blocks' shares of buckets are looked at as points around
those of the whole, whitened so that sampling alone gives them a variance of 1/rows in every direction.

* *When*: the courses over time that all attributes together follow best are the eigenvectors of the sum of
  the attributes' Gram matrices (blocks × blocks), at most `_COURSES`.
* *Honesty*: each block's rows are cut into two halves. A course found in one half is real if some attribute
  follows it in the other half: noise there knows nothing of it, so the squared response is χ², however the
  course was chosen and whatever depends on whatever (`_REAL`, corrected for attributes and courses).
* *What*: each attribute's response to a real course is its regression on it, shrunk by what noise alone
  would answer.

A window has a place in the season: one number a course, fitted to all attributes at once, with attributes
that do not follow counting little (Huber's weights), and never further out than the blocks of the reference
were (their places shrunk by what is noise in them). The window is compared with the reference moved to
that place. What is left is drift. An attribute that moves as at a weekend while the others do not has
drifted; one that moves alone in the reference too has not. Mixtures lie on the lines between what is mixed,
so a window that holds half a weekend is covered.

A moved reference knows less: it counts as fewer rows by the leverage of a regression, 1 + Σ place², places
in units of their standard deviation (a weekend is known by the weekends' rows only). Variation of blocks
that no course explains makes windows differ more than samples do; it bounds the rows that a window counts
for: 1/n' = 1/n + excess variance.

Blocks come from the reference's own times; without times from the order of its rows, and then only a course
that comes back counts: else a file that is sorted by age would make every age normal. Pure; no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.significance import chi_square_tail

Shares = npt.NDArray[np.float64]

_COURSES: Final = 6
_REAL: Final = 1e-3
_FOLLOWS: Final = 0.1
_CERTAIN: Final = 1e-4
_LEAST_SHARE: Final = 0.004
_LEAST_BLOCKS: Final = 6
_LEAST_ROWS: Final = 10
_COMES_BACK: Final = 0.6
_HUBER: Final = 1.5


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that is counted: by bucket in the whole reference, and in the blocks' halves,
    `halves[2 * block + half, bucket]`. A `leading` part helps to find courses and places.
    """

    counts: npt.NDArray[np.int64]
    halves: npt.NDArray[np.int64]
    leading: bool = True


@dataclass(frozen=True, eq=False)
class Matched:
    """What to compare with: counts by bucket that add up to the rows the reference counts for, and the share
    of its rows that the window counts for.
    """

    base: Shares
    counted: float


@dataclass(frozen=True, eq=False)
class _Response:
    """One part's response to the courses, `to[course, bucket]`, in whitened shares."""

    counts: Shares
    to: Shares
    excess: float
    leading: bool

    @property
    def shares(self) -> Shares:
        total = self.counts.sum()
        shares: Shares = self.counts / total if total else self.counts
        return shares

    def away(self, target: Shares) -> Shares:
        """A window's whitened distance from the whole."""
        shares, n = self.shares, float(target.sum())
        away = np.zeros_like(shares)
        used = shares > 0
        if n:
            away[used] = (target[used] / n - shares[used]) / np.sqrt(shares[used])
        return away

    def moved(self, place: Shares, n: float) -> Matched:
        """The reference at that place."""
        counted = 1.0 / (1.0 + n * self.excess)
        follows = self.to.any(axis=1)
        if not follows.any():
            return Matched(self.counts, counted)
        shares = self.shares
        moved = np.maximum(shares + (place @ self.to) * np.sqrt(shares), shares * 0.02)
        rows = float(self.counts.sum()) / (1.0 + float((place[follows] ** 2).sum()))
        return Matched(moved / moved.sum() * rows, counted)


@dataclass(frozen=True, eq=False)
class Season:
    """The season of a reference. `low` and `high` bound the places, by course."""

    responses: tuple[_Response, ...]
    low: Shares
    high: Shares

    def matched(self, targets: Sequence[Shares]) -> list[Matched]:
        """What each part of a window is to be compared with; `targets` in the order of the parts."""
        place = self._place(targets)
        return [
            response.moved(place, float(target.sum()))
            for response, target in zip(self.responses, targets, strict=True)
        ]

    def _place(self, targets: Sequence[Shares]) -> Shares:
        courses = len(self.low)
        pairs = [
            (r.to, r.away(t), _known(r, t))
            for r, t in zip(self.responses, targets, strict=True)
            if r.leading and r.to.any() and t.sum()
        ]
        place = np.zeros(courses)
        if not courses or not pairs:
            return place
        weights = np.ones(len(pairs))
        for _ in range(8):
            normal = 1e-9 * np.eye(courses)
            right = np.zeros(courses)
            for (to, away, known), weight in zip(pairs, weights, strict=True):
                normal += weight * known * (to @ to.T)
                right += weight * known * (to @ away)
            place = np.clip(np.linalg.solve(normal, right), self.low, self.high)
            left = np.array([known * float(((away - place @ to) ** 2).mean()) for to, away, known in pairs])
            scale = max(1.0, float(np.median(left)))
            weights = np.minimum(1.0, _HUBER / np.sqrt(np.maximum(left / scale, 1e-12)))
        return place


def _known(response: _Response, target: Shares) -> float:
    """1 over the variance that sampling alone gives a whitened share."""
    m, n = float(response.counts.sum()), float(target.sum())
    return m * n / (m + n)


def season_of(parts: Sequence[Part], timed: bool) -> Season:
    """The season that the parts show together. All have the same number of blocks.

    `timed`: whether blocks are known to be of different times; else the order of rows stands for it.
    """
    whitened = [_Whitened.of(part) for part in parts]
    leading = [w for w in whitened if w is not None and w.leading]
    courses = np.empty((0, 0))
    if leading and leading[0].blocks >= _LEAST_BLOCKS:
        courses = _courses(leading, timed)
    responses = [_response(part, white, courses) for part, white in zip(parts, whitened, strict=True)]
    if not len(courses):
        return Season(tuple(responses), np.empty(0), np.empty(0))
    low, high = _range(courses, leading, responses)
    return Season(tuple(responses), low, high)


@dataclass(frozen=True, eq=False)
class _Whitened:
    """Whitened shares of one part's blocks, and of their halves; rows of a block are `sizes`."""

    whole: Shares
    halves: tuple[Shares, Shares]
    sizes: Shares
    half_sizes: tuple[Shares, Shares]
    thick: npt.NDArray[np.bool_]
    leading: bool

    @property
    def blocks(self) -> int:
        return len(self.sizes)

    @property
    def degrees(self) -> int:
        return int(self.thick.sum()) - 1

    @classmethod
    def of(cls, part: Part) -> "_Whitened | None":
        halves = np.asarray(part.halves, dtype=np.float64)
        total = halves.sum()
        shares = halves.sum(axis=0) / total if total else np.zeros(halves.shape[1])
        thick = shares >= _LEAST_SHARE
        if thick.sum() < 2:
            return None
        one, other = halves[0::2], halves[1::2]
        white = [_white(counts, shares, thick) for counts in (one + other, one, other)]
        sizes = [counts.sum(axis=1) for counts in (one + other, one, other)]
        return cls(white[0], (white[1], white[2]), sizes[0], (sizes[1], sizes[2]), thick, part.leading)


def _white(counts: Shares, shares: Shares, thick: npt.NDArray[np.bool_]) -> Shares:
    sizes = counts.sum(axis=1, keepdims=True)
    enough = sizes >= _LEAST_ROWS / 2
    white = (counts[:, thick] / np.maximum(sizes, 1) - shares[thick]) / np.sqrt(shares[thick])
    return np.where(enough, white, 0.0)


def _leading_courses(whites: Sequence[Shares], sizes: Shares) -> Shares:
    """Unit vectors over blocks (in the metric of the blocks' rows), those that explain most first."""
    root = np.sqrt(sizes)[:, None]
    gram = np.zeros((len(sizes), len(sizes)))
    for white in whites:
        scaled = white * root
        gram += scaled @ scaled.T
    values, vectors = np.linalg.eigh(gram)
    return vectors[:, np.argsort(-values)[:_COURSES]].T


def _courses(leading: Sequence[_Whitened], timed: bool) -> Shares:
    """The real courses, each as places of the blocks: mean 0 and variance 1 over the reference's rows."""
    first = _leading_courses([w.halves[0] for w in leading], leading[0].half_sizes[0])
    real = 0
    for course in first:
        p = [chi_square_tail(_squared(course, w), w.degrees) for w in leading]
        if min(p) * len(p) * _COURSES < _REAL:
            real += 1
    sizes = leading[0].sizes
    found = _leading_courses([w.whole for w in leading], sizes)[:real]
    places = found / np.maximum(np.sqrt(sizes / sizes.sum()), 1e-12)
    kept = [course for course in places if timed or _comes_back(course, sizes)]
    return np.array(kept) if kept else np.empty((0, 0))


def _squared(course: Shares, white: _Whitened) -> float:
    """The second half's squared response to a course of the first: χ² where there is no season."""
    return float((((course * np.sqrt(white.half_sizes[1])) @ white.halves[1]) ** 2).sum())


def _response(part: Part, white: _Whitened | None, courses: Shares) -> _Response:
    counts = np.asarray(part.counts, dtype=np.float64)
    to = np.zeros((len(courses), len(counts)))
    if white is None or not white.sizes.sum():
        return _Response(counts, to, 0.0, part.leading)
    weights = white.sizes / white.sizes.sum()
    left = white.whole
    for place, course in enumerate(courses):
        response = (weights * course) @ white.whole
        # James and Stein: what noise alone would answer is taken off, and what may be noise counts as none.
        squared = float((response**2).sum() * white.sizes.sum())
        if squared > white.degrees and chi_square_tail(squared, white.degrees) < _FOLLOWS:
            to[place, white.thick] = (1 - white.degrees / squared) * response
            left = left - np.outer(course, response)
    degrees = max(1, (white.blocks - 1 - len(courses)) * white.degrees)
    spread = float((white.sizes[:, None] * left**2).sum())
    excess = 0.0
    if chi_square_tail(spread, degrees) < _CERTAIN:
        excess = max(0.0, spread / degrees - 1) * white.blocks / float(white.sizes.sum())
    return _Response(counts, to, excess, part.leading)


def _range(
    courses: Shares, leading: Sequence[_Whitened], responses: Sequence[_Response]
) -> tuple[Shares, Shares]:
    """Bounds of the places: the blocks' own, shrunk by the part of their variance that is noise."""
    sizes = leading[0].sizes
    gain = np.array(
        [sum(float((r.to[c] ** 2).sum()) for r in responses if r.leading) for c in range(len(courses))]
    )
    noise = len(sizes) / sizes.sum() / np.maximum(gain, 1e-12)
    shrink = np.clip(1 - noise, 0.3, 1.0)
    return (courses.min(axis=1) * shrink, courses.max(axis=1) * shrink)


def _comes_back(places: Shares, sizes: Shares) -> bool:
    """Whether a course is gone through in both halves of the rows, up and down more than once."""
    half = int(np.searchsorted(np.cumsum(sizes), sizes.sum() / 2))
    low, high = np.quantile(places, [0.1, 0.9])
    halves = [np.ptp(np.quantile(part, [0.1, 0.9])) for part in (places[:half], places[half:]) if len(part)]
    if len(halves) < 2 or min(halves) < _COMES_BACK * (high - low):
        return False
    return int((np.diff(np.sign(places - (low + high) / 2)) != 0).sum()) >= 4
