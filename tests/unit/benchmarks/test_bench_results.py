"""The file of results: one entry a figure, an item's entries replaced by its newest run, targets judged."""

import json
from pathlib import Path

import pytest

from benchmarks.results import Bound, Circumstances, Kept, Result, item_of, keep, read

ITEMS = ["append", "append-small", "memory-500"]
THEN = Circumstances("2026-01-01", "2 cores of a processor, 8 GiB, Linux x86_64", "3.11.7", 0.2)
DOCUMENTED = {"name", "ours", "peer", "peer_version", "unit", "ratio", "target"}


def kept(name: str, ours: float = 3.0, peer: float | None = 1.0, target: float | None = 2.0) -> Kept:
    ratio = None if peer is None else ours / peer
    version = None if peer is None else "peer 1.0"
    result = Result(
        name, "work", "rows/CPU s", ours, peer, version, ratio, target, Bound.RATIO_AT_LEAST, rounds=5
    )
    return Kept(result, THEN)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    before = keep([kept("append"), kept("memory-500", peer=None, target=None)], ITEMS, ITEMS, path)
    assert read(path) == before
    entries = json.loads(path.read_text())
    assert isinstance(entries, list)
    assert all(entry.keys() >= DOCUMENTED for entry in entries)


def test_a_run_of_one_item_replaces_its_entries_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    keep([kept("append"), kept("append-bytes"), kept("append-small"), kept("memory-500")], ITEMS, ITEMS, path)
    keep([kept("append", ours=9.0)], ["append"], ITEMS, path)
    assert {k.result.name: k.result.ours for k in read(path)} == {
        "append": 9.0,
        "append-small": 3.0,
        "memory-500": 3.0,
    }


def test_entries_stand_in_the_order_of_the_items_and_those_of_no_item_go(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    keep([kept("memory-500"), kept("append")], ["memory-500"], ["memory-500", "append"], path)
    keep([kept("append-small")], ["append-small"], ["append-small", "append"], path)
    assert [k.result.name for k in read(path)] == ["append-small", "append"]


def test_a_name_belongs_to_the_longest_item_that_it_begins_with() -> None:
    assert item_of("append-small-bytes", ITEMS) == "append-small"
    assert item_of("append-bytes", ITEMS) == "append"
    assert item_of("appendix", ITEMS) is None


@pytest.mark.parametrize(
    ("bound", "ours", "ratio", "met", "missed_by"),
    [
        (Bound.RATIO_AT_LEAST, 1.0, 2.0, True, None),
        (Bound.RATIO_AT_LEAST, 1.0, 1.5, False, 0.25),
        (Bound.RATIO_AT_MOST, 1.0, 2.0, True, None),
        (Bound.RATIO_AT_MOST, 1.0, 3.0, False, 0.5),
        (Bound.OURS_AT_LEAST, 2.0, None, True, None),
        (Bound.OURS_AT_LEAST, 1.0, 9.0, False, 0.5),
        (Bound.OURS_AT_MOST, 2.0, None, True, None),
        (Bound.OURS_AT_MOST, 4.0, 0.1, False, 1.0),
    ],
)
def test_a_target_of_two_is_judged(
    bound: Bound, ours: float, ratio: float | None, met: bool, missed_by: float | None
) -> None:
    result = Result("x", "x", "s", ours, ratio=ratio, target=2.0, bound=bound)
    assert (result.met, result.missed_by) == (met, missed_by)


def test_without_a_target_nothing_is_met_or_missed() -> None:
    result = Result("x", "x", "s", 1.0)
    assert (result.met, result.missed_by) == (None, None)


def test_what_is_told_of_a_target_is_judged_by_the_figures_that_are_kept(tmp_path: Path) -> None:
    """Four digits are kept: 1.99996 is 2.0 for whoever reads the file, so it has met 2."""
    path = tmp_path / "results.json"
    (entry,) = (keep([kept("append", ours=1.99996)], ITEMS, ITEMS, path),)
    assert json.loads(path.read_text())[0]["met"] is True
    assert read(path)[0].result.met is True
    assert entry


def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[{"name": "append"}]')
    with pytest.raises(ValueError, match=r"results\.json"):
        read(path)


def test_the_circumstances_name_a_machine_but_not_which() -> None:
    import socket

    now = Circumstances.now()
    assert "cores of" in now.machine
    assert socket.gethostname() not in now.machine
