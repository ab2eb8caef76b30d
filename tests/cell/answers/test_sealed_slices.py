"""Slices whose rows are gone keep their counts: exactly under the same profile, else with a bound."""

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_rooms import DAY, NOON, Profiles, inferences, open_query_rooms, people, profile_of, until

from modelwarden_server.analysis.cells import CategoryCells, NumericCells
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.profile import profile_column
from modelwarden_server.analysis.rebin import rebinned
from modelwarden_server.query.folding import Pace
from modelwarden_server.query.sealing import Sealed
from modelwarden_server.store.delta import Replacement

SOON = Pace(persist_seconds=0.01)
FIRST = int(NOON.timestamp()) // 300


@contextlib.contextmanager
def opened(folder, profiles):
    rooms = open_query_rooms(folder, SOON, profiles)
    yield next(rooms)
    assert next(rooms, None) is None


def retire(rooms, slices: range) -> None:
    """What retention does: seal, then take the rows away."""
    rooms.folder_of_partials.retired(list(slices), [])
    table = rooms.table
    for file in table.files:
        (batch,) = list(table.read([file]))
        at = batch.column("inference_timestamp").cast(pa.int64()).to_numpy() // 300_000_000
        kept = batch.filter(pa.array((at < slices.start) | (at >= slices.stop)))
        new = table.stage([kept], file.version)
        table.replace(Replacement([file], [new], rows_change=True), {})


def ages(rooms, start: int, end: int) -> tuple[int, int]:
    live = rooms.folder_of_partials.live
    totals = live.window(start, end)
    return int(totals[0]), int(live.space.cells_of("age", totals).sum())


def test_counts_outlive_their_rows_restarts_and_a_new_reference(tmp_path):
    references = {"a" * 64: profile_of(people(3000)), "b" * 64: profile_of(people(3000, seed=8, older=9))}
    old = people(400, seed=3)
    with opened(tmp_path, Profiles("a" * 64, references)) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        rooms.store(inferences(old, np.linspace(0, 2900, 400)))
        rooms.store(inferences(people(300, seed=4), np.linspace(DAY, DAY + 2900, 300), first_id=1000))
        before = rooms.folder_of_partials.live.window(FIRST, FIRST + 10)
        retire(rooms, range(FIRST, FIRST + 10))
        assert rooms.table.rows == 300
        assert np.array_equal(rooms.folder_of_partials.live.window(FIRST, FIRST + 10), before)
    with opened(tmp_path, Profiles("a" * 64, references)) as rooms:
        until(lambda: rooms.folder_of_partials.reach(1))
        assert np.array_equal(rooms.folder_of_partials.live.window(FIRST, FIRST + 10), before)
        assert rooms.folder_of_partials.live.approximate is None
    with opened(tmp_path, Profiles("b" * 64, references)) as rooms:
        until(lambda: rooms.folder_of_partials.reach(1))
        assert ages(rooms, FIRST, FIRST + 10) == (400, 400)
        assert ages(rooms, FIRST + 288, FIRST + 300) == (300, 300)
        live = rooms.folder_of_partials.live
        assert live.approximate == FIRST + 9
        cells = live.space.cells_of("age", live.window(FIRST, FIRST + 10))
        exact = np.bincount(live.profile.column("age").cells.encode(old.column("age")), minlength=len(cells))
        assert np.abs(np.cumsum(cells) - np.cumsum(exact)).max() <= 400 * 0.05
        rooms.store(inferences(people(50, seed=5), np.full(50, 600.0), first_id=5000))
        assert rooms.folder_of_partials.reach(120)
        assert ages(rooms, FIRST, FIRST + 10) == (450, 450), "late rows of a sealed slice are counted"
    with opened(tmp_path, Profiles("b" * 64, references)) as rooms:
        until(lambda: rooms.folder_of_partials.reach(1))
        assert ages(rooms, FIRST, FIRST + 10) == (450, 450)
        assert rooms.folder_of_partials.live.approximate == FIRST + 9


def test_an_answer_over_slices_told_from_another_profile_says_so(tmp_path):
    references = {"a" * 64: profile_of(people(3000)), "b" * 64: profile_of(people(3000, seed=8))}
    with opened(tmp_path, Profiles("a" * 64, references)) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        rooms.store(inferences(people(400, seed=3), np.linspace(0, 2900, 400)))
        retire(rooms, range(FIRST, FIRST + 10))
        assert "approximate" not in rooms.ask(properties=["age"])
        rooms.profiles.name = "b" * 64
        rooms.folder_of_partials.wake()
        until(lambda: rooms.folder_of_partials.live.name == "b" * 64)
        assert rooms.ask(properties=["age"])["approximate"] is True


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=300),
    st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=300),
    st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=200),
)
@settings(max_examples=15)
def test_numbers_told_again_keep_their_rows_and_miss_by_no_more_than_the_cells_that_a_border_cuts(
    one, other, values
):
    old, new = (
        profile_column(Column("x", "FLOAT", "PIPELINE_INPUT"), lambda v=v: [pa.array(v)]).cells
        for v in (one, other)
    )
    assert isinstance(old, NumericCells)
    assert isinstance(new, NumericCells)
    counts = np.bincount(old.encode(pa.array(values)), minlength=old.size)
    told = rebinned(counts, old, new)
    assert told.sum() == len(values)
    exact = np.bincount(new.encode(pa.array(values)), minlength=new.size)
    inside = [e for e in new.edges if old.edges[0] <= e < old.edges[-1]]
    for edge in inside:
        cut = counts[np.searchsorted(old.edges, edge, side="right")]
        place = int(np.searchsorted(new.edges, edge, side="right"))
        assert abs(int(told[:place].sum()) - int(exact[:place].sum())) <= cut + 1


def test_categories_told_again_keep_their_names():
    old, new = CategoryCells(("a", "b"), ("r",)), CategoryCells(("b", "c"), ("a",))
    counts = np.array([5, 7, 2, 3, 1])
    assert rebinned(counts, old, new).tolist() == [7, 0, 5 + 2, 3, 1]


@pytest.mark.parametrize("slices", [[1, 2, 3, 7], [7], [], [5, 4, 4, -3]])
def test_sealed_slices_are_told_from_others(slices):
    sealed = Sealed(((2, 4),), "a").with_slices(slices, "b")
    asked = np.arange(-5, 10)
    assert sealed.holds(asked).tolist() == [int(s) in {2, 3, *slices} for s in asked]
