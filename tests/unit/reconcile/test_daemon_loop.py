"""The loop around a reconcile: woken, coalesced, bounded, patient with failures, and never lost."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from modelwarden.errors import Bug, Conflict, DependencyMissing, InvalidSpec, ReconcileError, Transient
from modelwarden.reconcile.daemons import Daemons, Visit
from modelwarden.reconcile.outcome import Outcome, Pace, worst
from modelwarden.reconcile.ports import MODEL, Key

KEY = Key("shop", "census")
PACE = Pace(resync=1000.0, backoff_first=5.0, backoff_most=300.0, jitter=lambda: 0.5)


class Notes:
    """What the daemons tell a watcher."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.lags: list[float | None] = []
        self.gauge: dict[tuple[str, str], int] = {}

    def reconciled(self, kind: str, outcome: Outcome, seconds: float, lag: float | None) -> None:
        self.results.append(outcome.result)
        self.lags.append(lag)

    def conditions_changed(
        self, kind: str, before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]
    ) -> None:
        for pair in before:
            self.gauge[pair] -= 1
        for pair in after:
            self.gauge[pair] = self.gauge.get(pair, 0) + 1


class Scripted:
    """A reconcile that does what it is told, one step a visit, and then nothing any more."""

    def __init__(self, *steps: Outcome | ReconcileError | Exception) -> None:
        self.visits: list[Visit] = []
        self.steps = list(steps)
        self.visited = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def __call__(self, visit: Visit) -> Outcome:
        self.visits.append(Visit(visit.key, visit.uid, visit.fresh, visit.memory))
        self.visited.set()
        if self.gate is not None:
            await self.gate.wait()
        step = self.steps.pop(0) if self.steps else Outcome()
        if isinstance(step, Exception):
            raise step
        return step

    async def reached(self, count: int) -> None:
        """Wait for the visit of that number."""
        async with asyncio.timeout(60):
            while len(self.visits) < count:
                self.visited.clear()
                await self.visited.wait()


async def none_left(daemons: Daemons) -> None:
    """Until no object has a daemon any more."""
    async with asyncio.timeout(60):
        for _ in itertools.takewhile(lambda _: daemons.keys(MODEL), itertools.count()):
            await asyncio.sleep(0)


def live(uid: str = "u1", generation: int = 1, **meta: Any) -> dict[str, Any]:
    base = {"namespace": "shop", "name": "census", "uid": uid, "generation": generation}
    return {"metadata": base | meta}


def pool(reconcile: Any, notes: Notes | None = None, concurrency: int = 16, pace: Pace = PACE) -> Daemons:
    loop = asyncio.get_running_loop()
    return Daemons({MODEL: reconcile}, pace, concurrency, loop.time, notes or Notes())


async def test_an_object_is_reconciled_when_it_is_seen_and_again_when_it_changes() -> None:
    reconcile = Scripted()
    daemons = pool(reconcile)
    daemons.saw(MODEL, live())
    await reconcile.reached(1)
    daemons.saw(MODEL, live(generation=2))
    await reconcile.reached(2)
    assert [visit.fresh for visit in reconcile.visits] == [True, True]
    await daemons.stop()


async def test_an_event_for_a_status_alone_wakes_nobody() -> None:
    reconcile = Scripted()
    daemons = pool(reconcile)
    daemons.saw(MODEL, live())
    await reconcile.reached(1)
    daemons.saw(MODEL, live() | {"status": {"rows": 1}})
    daemons.saw(MODEL, live(generation=2))
    await reconcile.reached(2)
    daemons.saw(MODEL, live(generation=2) | {"status": {"rows": 2}})
    await asyncio.sleep(0)
    assert len(reconcile.visits) == 2
    await daemons.stop()


@pytest.mark.parametrize(
    "meta",
    [
        {"deletionTimestamp": "now"},
        {"finalizers": ["x"]},
        {"annotations": {"modelwarden.dev/key-epoch": "1"}},
    ],
)
async def test_what_changes_in_the_metadata_is_a_reason_to_look(meta: dict[str, Any]) -> None:
    reconcile = Scripted()
    daemons = pool(reconcile)
    daemons.saw(MODEL, live())
    await reconcile.reached(1)
    daemons.saw(MODEL, live(**meta))
    await reconcile.reached(2)
    await daemons.stop()


async def test_a_burst_of_wake_ups_during_a_reconcile_makes_one_more() -> None:
    reconcile = Scripted()
    reconcile.gate = asyncio.Event()
    daemons = pool(reconcile)
    daemons.saw(MODEL, live())
    await reconcile.reached(1)
    for _ in range(50):
        daemons.wake(MODEL, KEY)
    reconcile.gate.set()
    await reconcile.reached(2)
    daemons.wake(MODEL, KEY)
    await reconcile.reached(3)
    assert len(reconcile.visits) == 3
    await daemons.stop()


async def test_a_poll_is_not_fresh_and_keeps_the_memory() -> None:
    reconcile = Scripted(Outcome(after=0.01), Outcome(after=0.01))
    daemons = pool(reconcile)
    daemons.saw(MODEL, live())
    await reconcile.reached(3)
    assert [visit.fresh for visit in reconcile.visits] == [True, False, False]
    assert all(visit.memory is reconcile.visits[0].memory for visit in reconcile.visits)
    await daemons.stop()


async def test_an_object_that_is_gone_loses_its_daemon_and_a_namesake_gets_a_new_one() -> None:
    reconcile = Scripted(Outcome(), Outcome(gone=True))
    daemons = pool(reconcile)
    daemons.saw(MODEL, live("u1"))
    await reconcile.reached(1)
    daemons.lost("u1")
    await reconcile.reached(2)
    await none_left(daemons)
    daemons.saw(MODEL, live("u2"))
    await reconcile.reached(3)
    assert reconcile.visits[2].uid == "u2"
    await daemons.stop()


async def test_a_namesake_is_woken_although_the_old_daemon_ends_later() -> None:
    reconcile = Scripted(Outcome(), Outcome(), Outcome(gone=True))
    daemons = pool(reconcile)
    daemons.saw(MODEL, live("u1"))
    await reconcile.reached(1)
    daemons.saw(MODEL, live("u2"))
    await reconcile.reached(2)
    daemons.lost("u1")
    await reconcile.reached(3)
    daemons.wake(MODEL, KEY)
    await reconcile.reached(4)
    assert reconcile.visits[3].uid == "u2"
    await daemons.stop()


async def test_no_more_reconciles_run_at_once_than_allowed() -> None:
    reconcile = Scripted()
    reconcile.gate = asyncio.Event()
    daemons = pool(reconcile, concurrency=2)
    for number in range(5):
        daemons.saw(MODEL, {"metadata": {"namespace": "shop", "name": f"m{number}", "uid": str(number)}})
    await reconcile.reached(2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(reconcile.visits) == 2
    assert daemons.oldest_wait() >= 0
    reconcile.gate.set()
    await reconcile.reached(5)
    await daemons.stop()


async def test_a_mistake_of_ours_is_logged_with_its_stack_and_the_object_is_not_abandoned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes, pace = Notes(), Pace(1000, 0.01, 0.02, lambda: 0.5)
    reconcile = Scripted(ZeroDivisionError("ours"), Outcome())
    daemons = pool(reconcile, notes, pace=pace)
    with caplog.at_level(logging.ERROR, logger="modelwarden.reconcile"):
        daemons.saw(MODEL, live())
        await reconcile.reached(2)
    assert notes.results[0] == "Bug"
    record = next(record for record in caplog.records if record.exc_info)
    assert (record.__dict__["namespace"], record.__dict__["object"]) == ("shop", "census")
    await daemons.stop()


async def test_after_a_failure_the_cluster_is_read_afresh() -> None:
    pace = Pace(1000, 0.01, 0.02, lambda: 0.5)
    reconcile = Scripted(Outcome(trouble=Transient("X", "x")), Outcome())
    daemons = pool(reconcile, pace=pace)
    daemons.saw(MODEL, live())
    await reconcile.reached(2)
    assert [visit.fresh for visit in reconcile.visits] == [True, True]
    await daemons.stop()


async def test_the_gauges_follow_an_object_s_conditions_until_it_is_gone() -> None:
    notes = Notes()
    ready, not_ready = (("Ready", "True"),), (("Ready", "False"),)
    reconcile = Scripted(
        Outcome(conditions=not_ready, after=0.01), Outcome(conditions=ready, after=0.01), Outcome(gone=True)
    )
    daemons = pool(reconcile, notes)
    daemons.saw(MODEL, live())
    await reconcile.reached(3)
    await none_left(daemons)
    assert set(notes.gauge.values()) == {0}
    assert ("Ready", "True") in notes.gauge


@pytest.mark.parametrize(
    ("outcome", "failures", "expected"),
    [
        (Outcome(), 0, 1000.0),
        (Outcome(after=10), 0, 10.0),
        (Outcome(after=5000), 0, 1000.0),
        (Outcome(trouble=InvalidSpec("X", "x")), 3, 1000.0),
        (Outcome(trouble=InvalidSpec("X", "x"), after=10), 3, 10.0),
        (Outcome(trouble=DependencyMissing("X", "x"), after=10), 3, 10.0),
        (Outcome(trouble=Transient("X", "x")), 1, 5.0),
        (Outcome(trouble=Transient("X", "x")), 3, 20.0),
        (Outcome(trouble=Transient("X", "x")), 50, 300.0),
        (Outcome(trouble=Transient("X", "x", retry_after=60)), 1, 60.0),
        (Outcome(trouble=Bug("x")), 2, 10.0),
        (Outcome(trouble=Conflict("x")), 1, 0.0),
        (Outcome(trouble=Conflict("x")), 5, 0.0),
        (Outcome(trouble=Conflict("x")), 6, 160.0),
    ],
)
def test_the_class_of_an_error_decides_the_wait(outcome: Outcome, failures: int, expected: float) -> None:
    assert PACE.rest(outcome, failures) == expected


@pytest.mark.parametrize(("position", "factor"), [(0.0, 0.8), (0.5, 1.0), (0.999, 1.2)])
def test_waits_are_spread_by_a_fifth(position: float, factor: float) -> None:
    pace = Pace(100.0, 10.0, 300.0, lambda: position)
    assert pace.rest(Outcome(), 0) == pytest.approx(100 * factor, rel=0.01)
    assert pace.rest(Outcome(trouble=Bug("x")), 1) == pytest.approx(10 * factor, rel=0.01)


@pytest.mark.parametrize(
    ("troubles", "expected"),
    [
        ([], type(None)),
        ([InvalidSpec("X", "x"), Transient("X", "x")], Transient),
        ([Transient("X", "x"), Conflict("x")], Conflict),
        ([DependencyMissing("X", "x"), InvalidSpec("X", "x")], DependencyMissing),
    ],
)
def test_what_passes_soonest_is_tried_soonest(
    troubles: list[ReconcileError], expected: Callable[..., Any]
) -> None:
    assert type(worst(troubles)) is expected
