"""Every item can be chosen by name, and our sides of the comparisons run, with few rows."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.environments import REQUIREMENTS, python_of
from benchmarks.items import ITEMS, chosen
from benchmarks.ours import append, drift, fairness, hotspots, labels, window
from benchmarks.peers.turns import Round
from testbed.cache import cache_folder, content_key


def test_all_items_have_a_name_of_their_own_and_say_how_they_measure() -> None:
    assert len({item.name for item in ITEMS}) == len(ITEMS)
    assert all(item.how.endswith(".") for item in ITEMS)


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("labels", ["labels"]),
        ("append", ["append-deltalake", "append-pyiceberg"]),
        ("memory-500", ["memory-500"]),
        ("window, http", ["http", "window"]),
    ],
)
def test_items_are_chosen_by_name_or_by_what_names_begin_with(only: str, names: list[str]) -> None:
    assert [item.name for item in chosen(only)] == names


def test_without_a_name_all_are_chosen() -> None:
    assert chosen(None) == chosen("") == list(ITEMS)


@pytest.mark.parametrize("only", ["appen", "labels,unknown"])
def test_an_unknown_name_is_refused_with_the_names_there_are(only: str) -> None:
    with pytest.raises(ValueError, match="labels, window"):
        chosen(only)


@pytest.mark.parametrize(
    ("prepare", "scale", "variant"),
    [
        (drift.prepare, 0.001, ""),
        (append.prepare_large, 0.001, ""),
        (append.prepare_small, 0.1, ""),
        (labels.prepare_write, 0.001, ""),
        (labels.prepare_join, 0.001, ""),
        (window.prepare_partials, 0.0001, ""),
        (window.prepare_rescan, 0.0001, ""),
        (fairness.prepare_rows, 0.001, ""),
        (fairness.prepare_sums, 0.001, ""),
        (hotspots.prepare, 1, ""),
    ],
)
def test_our_side_does_its_work(
    prepare: Callable[[float], Round], scale: float, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a side measures is checked by the side itself: it raises when rows are missing."""
    monkeypatch.setattr(window, "FILES", 2)
    monkeypatch.setattr(labels, "FILES", 2)
    monkeypatch.setattr(sys, "argv", ["side", str(scale), *variant.split()])
    once = prepare(scale)
    for _ in range(2):
        done = once()
        assert (done["units"] if isinstance(done, Mapping) else done) > 0


@pytest.mark.parametrize("requirements", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.stem)
def test_peers_are_pinned_to_the_last_dependency(requirements: Path) -> None:
    # What begins with -- tells pip how, not what.
    lines = [line for line in requirements.read_text().splitlines() if not line.startswith(("#", "--"))]
    assert lines
    assert all(line.count("==") == 1 and " " not in line for line in lines)


def test_an_environment_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELWARDEN_CACHE", str(tmp_path))
    key = content_key(REQUIREMENTS / "deltalake.txt", f"{sys.version_info[:2]}")
    there = cache_folder() / "bench" / f"deltalake-{key}"
    there.mkdir(parents=True)
    told: list[str] = []
    assert python_of("deltalake", told.append) == there / "bin" / "python"
    assert told == []
