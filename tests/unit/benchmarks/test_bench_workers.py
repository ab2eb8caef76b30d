"""Both sides of a comparison run in processes of their own, take turns, and fail with a reason."""

import sys
from pathlib import Path

import pytest

from benchmarks.harness import Case, Setting, here, measure, race, repeat
from benchmarks.results import Bound
from benchmarks.workers import PEERS, BenchError, Threads, Worker

HEAD = f"import os, sys; sys.path.insert(0, {str(PEERS)!r})\nfrom turns import serve\n"
QUIET = Setting(tell=lambda _: None)


def side(tmp_path: Path, body: str, patience: float = 120.0, name: str = "side") -> Worker:
    """A process with the function `prepare` of `body`."""
    script = tmp_path / f"{name}.py"
    script.write_text(f"{HEAD}{body}\nserve(prepare, 'numpy')\n")
    return Worker([sys.executable, str(script), "0.5"], Threads.one(), patience)


COUNTING = """
def prepare(scale):
    state = {"before": 0, "rounds": 0}
    def before():
        state["before"] += 1
    def work():
        state["rounds"] += 1
        print("noise")
        sum(range(100_000))
        return {"units": 1000, **state, "scale": scale, "cores": len(os.sched_getaffinity(0)),
                "threads": int(os.environ["OMP_NUM_THREADS"])}
    return work, before
"""


def test_a_round_reports_its_units_its_cpu_and_what_else_it_measured(tmp_path: Path) -> None:
    with side(tmp_path, COUNTING) as worker:
        worker.turn()
        turn = worker.turn()
    assert worker.version.startswith("numpy 2")
    assert turn.more == {"before": 2, "rounds": 2, "scale": 0.5, "cores": 1, "threads": 1}
    assert turn.rate == turn.units / turn.cpu
    assert 0 < turn.cpu < 20


def test_a_race_gives_the_median_of_both_sides_and_their_ratio(tmp_path: Path) -> None:
    working = "def prepare(scale):\n    return lambda: {'units': %d, 'bytes': %d + 0 * sum(range(200_000))}"
    ours = side(tmp_path, working % (4000, 3), name="ours")
    peer = side(tmp_path, working % (1000, 4), name="peer")
    found = race(ours, peer, QUIET, "rows", 3)
    assert len(found.ours) == len(found.peer) == 3
    rate = found.rate("x", "what", "rows", 2.0)
    assert rate.bound is Bound.RATIO_AT_LEAST
    assert rate.ours == sorted(turn.rate for turn in found.ours)[1]
    assert rate.ratio == pytest.approx(rate.ours / (rate.peer or 0))
    size = found.share("x-bytes", "what", "bytes", "bytes", 0.75)
    assert (size.ours, size.peer, size.ratio, size.met) == (3, 4, 0.75, True)


def test_the_warm_round_is_not_counted(tmp_path: Path) -> None:
    turns = repeat(side(tmp_path, COUNTING), QUIET, 2)
    assert [turn.more["rounds"] for turn in turns] == [2, 3]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def prepare(scale):\n    raise SystemExit('no such package')", "no such package"),
        ("def prepare(scale):\n    return lambda: [][1]", "IndexError"),
        ("def prepare(scale):\n    return lambda: os._exit(3)", "ended"),
    ],
)
def test_a_side_that_fails_says_why(tmp_path: Path, body: str, reason: str) -> None:
    def once() -> None:
        with side(tmp_path, body) as worker:
            worker.turn()

    with pytest.raises(BenchError, match=reason):
        once()


def test_a_side_that_hangs_is_ended(tmp_path: Path) -> None:
    body = "import time\ndef prepare(scale):\n    return lambda: time.sleep(600)"

    def once() -> None:
        with side(tmp_path, body, patience=0.5) as worker:
            worker.turn()

    with pytest.raises(BenchError, match="no answer in"):
        once()


def test_a_case_in_this_process_takes_turns_too() -> None:
    order: list[str] = []

    def work(who: str, units: int) -> int:
        order.append(who)
        return units

    case = Case("x", "peer 1", "rows", lambda: work("ours", 6), lambda: work("peer", 2), target=4)
    found = measure(case, QUIET, usual=2)
    assert order == ["ours", "peer"] * 3
    assert (found.ours, found.peer, found.ratio, found.met) == (6, 2, 3, False)


def test_a_rate_is_units_per_cpu_second() -> None:
    assert here(lambda: sum(range(300_000)) and 10)() < 10 / 0.0005
