"""What the status says of batch models, and of regressions whose errors are expected by somebody else."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import census_like
import numpy as np
import pytest
from outcome_rooms import NOON, OutcomeRooms, open_outcome_rooms

from modelwarden_server.query.performance.expected_loss import LossQuality, LossSums
from modelwarden_server.query.performance.following import DEFAULT_PACE
from modelwarden_server.query.performance.sums import Sums
from modelwarden_server.query.performance.watch import PerformanceWatch, Watched, reported
from modelwarden_server.store.batches import Batch

SETTINGS = census_like.settings().monitoring.model_copy(update={"minimum_rows": 100})


@pytest.fixture
def batched(tmp_path: Path):
    rooms = open_outcome_rooms(tmp_path, DEFAULT_PACE, by_batch=True)
    yield next(rooms)
    assert next(rooms, None) is None


def good_labels(rooms: OutcomeRooms, ids: list[str], *, turned: bool = False) -> None:
    rng = np.random.default_rng(len(ids))
    data = rooms.known().set_index("id").loc[ids]
    right = rng.random(len(ids)) < (0.15 if turned else 0.85)
    said = (data.p >= 0.5).to_numpy()
    rooms.label(ids, np.where(right, said, ~said).astype(int).tolist())


def closed(*names: str) -> list[Batch]:
    """Batches, the one closed last first."""
    times = [NOON + timedelta(hours=n) for n in range(len(names), 0, -1)]
    return [Batch(name, 1, at, at, closed_at=at) for name, at in zip(names, times, strict=True)]


def test_of_a_batch_model_the_batch_closed_last_is_judged_and_persists_over_batches(batched):
    for place, name in enumerate(("ref", "a", "b", "c", "d")):
        good_labels(batched, batched.send(1000 * place, 300, batch=name), turned=name in ("c", "d"))
    assert batched.follower.reach(120)
    live = batched.follower.live
    sums = Sums(live, live.definition, live.batch("ref"))
    fine = reported(Watched(sums, SETTINGS, closed("b", "a")))
    assert (fine.batch, fine.worse, fine.by, fine.coverage) == ("b", False, "labels", 1.0)
    once = reported(Watched(sums, SETTINGS, closed("c", "b", "a")))
    assert (once.batch, once.worse) == ("c", False)
    assert once.reason.endswith("in no window before")
    assert once.metrics[0].worse
    twice = reported(Watched(sums, SETTINGS, closed("d", "c", "b", "a"), nameable=frozenset({"age"})))
    assert (twice.batch, twice.worse, twice.judged) == ("d", True, 3)
    assert {p.group for p in twice.populations if p.attribute == "age"} == {"(40, inf)"}, (
        "of the others n < 100"
    )
    assert reported(Watched(sums, SETTINGS, closed())) is None
    unnamed = reported(Watched(sums, SETTINGS, closed("d", "c", "b", "a")))
    assert [p.metric for p in unnamed.populations] == [p.metric for p in twice.populations]
    assert {p.group for p in unnamed.populations} == {None}, "groups that nobody declared are values of rows"


def test_a_report_is_kept_until_something_changes(batched):
    good_labels(batched, batched.send(0, 300, batch="a"))
    assert batched.follower.reach(120)
    live = batched.follower.live
    sums = Sums(live, live.definition, live.batch("a"))
    watch = PerformanceWatch(clock=lambda: 0.0)
    first = watch.report(Watched(sums, SETTINGS, closed("a")))
    assert watch.report(Watched(sums, SETTINGS, closed("a"))) is first
    changed = SETTINGS.model_copy(update={"minimum_rows": 1000})
    other = watch.report(Watched(sums, changed, closed("a")))
    assert other.metrics[0].withheld == "n=300 < 1000"
    assert watch.report(None) is None


@dataclasses.dataclass
class Expected:
    """A model of the loss that expects this mean absolute error."""

    mae: float

    def quality(self) -> LossQuality:
        return LossQuality(2000, 1.0, 2.0, 0.5, 1.0, 0.3)

    def window(self, start: int, end: int) -> LossSums:
        return LossSums(500, 500 * self.mae, 500 * 2.0)

    def batch(self, name: str) -> LossSums:
        return self.window(0, 1)


@pytest.mark.parametrize(("mae", "worse"), [(1.02, False), (1.5, True)])
def test_expected_errors_of_a_regression_raise_the_alarm_without_labels(batched, mae, worse):
    batched.send(0, 300, batch="a")
    assert batched.follower.reach(120)
    live = batched.follower.live
    told = reported(Watched(Sums(live, live.definition), SETTINGS, closed("a"), Expected(mae)))
    (estimate,) = told.estimated.metrics
    assert (estimate.metric, estimate.baseline, estimate.value) == ("mae", 1.0, pytest.approx(mae))
    assert (told.worse, told.by) == (worse, "estimate")
    doubted = Watched(Sums(live, live.definition), SETTINGS, closed("a"), Expected(mae), "new values")
    told = reported(doubted)
    assert (told.worse, told.by, told.estimated.withheld) == (False, None, "new values")
