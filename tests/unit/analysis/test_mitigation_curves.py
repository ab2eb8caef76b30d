"""Curves of thresholds: by hand, by brute force, and beside what fairlearn's optimizer can reach."""

import warnings

import numpy as np
import pytest
from fairlearn.postprocessing import ThresholdOptimizer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin

from modelwarden_server.analysis.mitigation.choice import judge, optimization_index
from modelwarden_server.analysis.mitigation.curves import CHOICES, NOBODY, POINTS, Constraint, curve, lacks
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts, score_bins

DP, EO, ODDS = Constraint.DEMOGRAPHIC_PARITY, Constraint.EQUAL_OPPORTUNITY, Constraint.EQUALIZED_ODDS


def counts_of(scores: np.ndarray, labels: np.ndarray) -> BinaryCounts:
    bins = score_bins(np.asarray(scores, dtype=np.float64))
    labels = np.asarray(labels)
    return BinaryCounts(
        np.bincount(bins, minlength=BINS),
        np.bincount(bins[labels == 1], minlength=BINS),
        np.bincount(bins[labels == 0], minlength=BINS),
    )


FOUR = counts_of(np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("constraint", "place", "threshold", "y", "attained"),
    [
        (DP, 0, NOBODY, 0.5, 0.0),
        (DP, 250, 0.8, 0.75, 0.25),
        (DP, 300, 0.8, 0.75, 0.25),
        # halfway between one and two of four: the one with more rows right
        (DP, 375, 0.8, 0.75, 0.25),
        (DP, 376, 0.6, 0.5, 0.5),
        (DP, 625, 0.4, 0.75, 0.75),
        (DP, 1000, 0.2, 0.5, 1.0),
        (EO, 0, NOBODY, 0.5, 0.0),
        # one of two positives: from 0.8 on, not from 0.6 on, where a negative comes with it
        (EO, 500, 0.8, 0.75, 0.5),
        (EO, 1000, 0.4, 0.75, 1.0),
        (ODDS, 0, 0.8, 0.5, 0.0),
        (ODDS, 500, 0.4, 1.0, 0.5),
        (ODDS, 1000, 0.4, 1.0, 1.0),
    ],
)
def test_a_curve_by_hand(
    constraint: Constraint, place: int, threshold: float, y: float, attained: float
) -> None:
    found = curve(FOUR, constraint)
    if constraint is ODDS and place == 1000:
        threshold = 0.2  # all negatives, too
    assert CHOICES[found.choices[place]] == threshold
    assert found.y[place] == y
    assert found.attained[place] == attained


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.sampled_from([0, 1, -1])), min_size=1, max_size=40),
    st.sampled_from(list(Constraint)),
)
def test_every_point_is_the_best_of_the_nearest_thresholds(
    rows: list[tuple[int, int]], constraint: Constraint
) -> None:
    scores, labels = np.array([k / 1000 for k, _ in rows]), np.array([label for _, label in rows])
    counts = counts_of(scores, labels)
    if lacks(counts, constraint, 1):
        return
    found = curve(counts, constraint)
    chosen = scores[None, :] >= CHOICES[:, None]
    tp, fp = (chosen[:, labels == label].sum(axis=1) for label in (1, 0))
    right = tp + int((labels == 0).sum()) - fp
    of, gain = {DP: (chosen.sum(axis=1), right), EO: (tp, right), ODDS: (fp, tp)}[constraint]
    for place in (0, 1, 137, 250, 333, 500, 667, 750, 999, 1000):
        ranked = np.lexsort((-np.arange(len(CHOICES)), -gain, np.abs(of * 1000 - place * of[0])))
        assert found.choices[place] == ranked[0]


class _Scores(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model that says what it is given."""

    def fit(self, _x: np.ndarray, _y: np.ndarray) -> "_Scores":
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.column_stack([1 - x[:, 0], x[:, 0]])


NAMES = ("a", "b", "c")


def three_groups(
    seed: int, negatives: tuple[int, int, int] = (300, 250, 400)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on the grid; 500 people a group, of whom 200, 250 and 100 are positive: rates are on it, too."""
    rng = np.random.default_rng(seed)
    scores, labels = [], []
    for positives, others, shift in zip((200, 250, 100), negatives, (0.1, 0.0, -0.15), strict=True):
        label = np.repeat([1, 0], [positives, others])
        raw = np.clip(rng.normal(0.45 + 0.2 * label + shift, 0.18), 0, 1)
        scores.append(np.round(raw, 3))
        labels.append(label)
    return np.concatenate(scores), np.concatenate(labels), np.repeat(NAMES, [len(one) for one in labels])


@pytest.mark.parametrize("constraint", list(Constraint))
def test_points_lie_under_fairlearns_hull_and_reach_its_corners(constraint: Constraint) -> None:
    # What x is a share of divides 1000 in every group, so that fairlearn's grid of x has all corners.
    sizes = (200, 250, 500) if constraint is ODDS else (300, 250, 400)
    scores, labels, groups = three_groups(2, sizes)
    name = {DP: "demographic_parity", EO: "true_positive_rate_parity", ODDS: "equalized_odds"}[constraint]
    optimizer = ThresholdOptimizer(
        estimator=_Scores().fit(scores, labels),
        constraints=name,
        objective="accuracy_score",
        grid_size=1000,
        prefit=True,
        predict_method="predict_proba",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer.fit(scores[:, None], labels, sensitive_features=groups)
    corners = 0
    for group in NAMES:
        here = groups == group
        ours = curve(counts_of(scores[here], labels[here]), constraint)
        hull = optimizer._tradeoff_curve[group]
        points = hull.groupby("x")["y"].max()
        assert np.all(ours.y <= np.interp(ours.attained, hull["x"], hull["y"]) + 1e-9)
        corners_here = _corners(points.index.to_numpy(), points.to_numpy())
        for x, y in corners_here:
            place = round(x * 1000)
            assert x == pytest.approx(place / 1000, abs=1e-9)  # so nothing is lost to the grid of x
            assert ours.attained[place] == pytest.approx(x, abs=1e-9)
            assert ours.y[place] == pytest.approx(y, abs=1e-9)
        corners += len(corners_here)
    assert corners > 20


def _corners(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Where fairlearn needs one threshold alone: its curve is given on a grid between the hull's corners."""
    slopes = np.diff(y) / np.diff(x)
    bends = np.flatnonzero(np.abs(np.diff(slopes)) > 1e-6) + 1
    return [(float(x[i]), float(y[i])) for i in bends]


@pytest.mark.parametrize("constraint", [DP, EO])
def test_the_recommended_point_has_the_most_rows_right_at_one_common_rate(constraint: Constraint) -> None:
    scores, labels, groups = three_groups(seed=4)
    curves = {g: curve(counts_of(scores[groups == g], labels[groups == g]), constraint) for g in NAMES}
    right = []
    for place in range(POINTS):
        thresholds = {g: CHOICES[one.choices[place]] for g, one in curves.items()}
        decided = (
            np.array([s >= thresholds[g] for s, g in zip(scores, groups, strict=True)])
            if place % 50 == 0
            else None
        )
        overall = sum(int(one.gains[place]) for one in curves.values())
        if decided is not None:
            assert overall == int((decided == (labels == 1)).sum())
        right.append(overall)
    assert optimization_index(constraint, curves) == int(np.argmax(right))


def test_the_recommended_point_of_equalized_odds_is_nearest_to_the_corner_on_the_lowest_curve() -> None:
    scores, labels, groups = three_groups(seed=4)
    curves = {g: curve(counts_of(scores[groups == g], labels[groups == g]), ODDS) for g in NAMES}
    far = [
        (place / 1000) ** 2 + (1 - min(one.y[place] for one in curves.values())) ** 2
        for place in range(POINTS)
    ]
    assert optimization_index(ODDS, curves) == far.index(min(far))


@pytest.mark.parametrize(
    ("scores", "labels", "constraint", "why"),
    [
        ([0.2] * 29, [1] * 29, DP, "has 29 labelled rows to learn from, fewer than 30"),
        ([0.2] * 30, [-1] * 30, DP, "has 0 labelled rows to learn from, fewer than 30"),
        ([0.2] * 30, [0] * 30, EO, "has no row whose label is the positive class"),
        ([0.2] * 30, [1] * 30, ODDS, "has no row whose label is the negative class"),
        ([0.2] * 30, [0] * 30, DP, None),
        ([0.2] * 30, [1] * 30, EO, None),
    ],
)
def test_a_group_that_lacks_something_has_no_curve(
    scores: list[float], labels: list[int], constraint: Constraint, why: str | None
) -> None:
    assert lacks(counts_of(np.array(scores), np.array(labels)), constraint, 30) == why


@pytest.mark.parametrize("constraint", list(Constraint))
def test_constant_scores_leave_nobody_and_everybody_to_choose_from(constraint: Constraint) -> None:
    found = curve(counts_of(np.full(40, 0.7), np.repeat([0, 1], 20)), constraint)
    assert set(found.attained) == {0.0, 1.0}
    assert [CHOICES[found.choices[place]] for place in (0, -1)] == [NOBODY, 0.7]


def test_judging_says_what_would_change_row_by_row() -> None:
    scores, labels, groups = three_groups(seed=7)
    counts = {g: counts_of(scores[groups == g], labels[groups == g]) for g in NAMES}
    new = {"a": 620, "b": 480}
    found = judge(DP, counts, new, 500, 30)
    assert found is not None
    before = scores >= 0.5
    after = np.array([s >= {"a": 0.62, "b": 0.48}.get(g, 0.5) for s, g in zip(scores, groups, strict=True)])
    assert found.accuracy_before.value == pytest.approx(np.mean(before == (labels == 1)))
    assert found.accuracy_after.value == pytest.approx(np.mean(after == (labels == 1)))
    change = found.accuracy_change
    assert change.value == pytest.approx(found.accuracy_after.value - found.accuracy_before.value)
    for g in NAMES:
        here = groups == g
        assert found.groups[g].to_yes == int((after & ~before & here).sum())
        assert found.groups[g].to_no == int((before & ~after & here).sum())
    assert found.gap_before is not None
    assert found.gap_after is not None
    rates = [np.mean(before[groups == g]) for g in ("a", "b")]  # c keeps its threshold: not in the gap
    assert found.gap_before.spread.difference.value == pytest.approx(max(rates) - min(rates))


def test_without_a_label_nothing_can_be_judged() -> None:
    assert judge(DP, {"a": counts_of(np.full(9, 0.3), np.full(9, -1))}, {"a": 500}, 500, 30) is None
