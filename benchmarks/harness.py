"""Times two ways of doing the same work, turn by turn, and keeps what it measured.

CPU seconds of the process are the figure: wall time on a shared machine is noise. Ours and the peer's take
turns, so that a slow minute hits both. Must not know what is measured.
"""

import json
import platform
import statistics
import subprocess
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from testbed.cache import cache_folder, content_key

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """One piece of work, done our way and the peer's; both return units per CPU second."""

    name: str
    peer_name: str
    unit: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    target: float


@dataclass(frozen=True)
class Measurement:
    """Units per CPU second (median of the rounds) and the ratio between them."""

    name: str
    peer_name: str
    unit: str
    ours: float
    peer: float
    ratio: float
    target: float
    rounds: int


def measure(case: Case, rounds: int = 5) -> Measurement:
    """Run both ways `rounds` times, turn by turn, after one unmeasured round of each."""
    case.ours()
    case.peer()
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(case.ours())
        peer.append(case.peer())
    mine, theirs = statistics.median(ours), statistics.median(peer)
    return Measurement(case.name, case.peer_name, case.unit, mine, theirs, mine / theirs, case.target, rounds)


def here(work: Callable[[], int]) -> Callable[[], float]:
    """The rate of work that runs in this process and returns the number of units it did."""

    def rate() -> float:
        start = time.process_time()
        units = work()
        return units / max(time.process_time() - start, 1e-9)

    return rate


def elsewhere(environment: str, requirements: Sequence[str], script: Path) -> Callable[[], float]:
    """The rate of a peer that needs an environment of its own: `script` prints units per CPU second.

    The environment is made once, in the cache folder, under a name that holds its exact requirements.
    """
    folder = cache_folder() / "bench" / f"{environment}-{content_key(*requirements)}"
    python = folder / "bin" / "python"

    def rate() -> float:
        if not python.exists():
            venv.create(folder, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        done = subprocess.run([python, script], check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    return rate


def show(measurements: list[Measurement], console: Console) -> None:
    """The table that people read."""
    table = Table(title="units per CPU second, median; ours and the peer's in one run")
    for column in ("what", "peer", "unit"):
        table.add_column(column)
    for column in ("ours", "peer's", "ratio", "target"):
        table.add_column(column, justify="right")
    for m in measurements:
        style = "green" if m.ratio >= m.target else "yellow"
        table.add_row(
            m.name, m.peer_name, m.unit, f"{m.ours:,.0f}", f"{m.peer:,.0f}",
            f"[{style}]{m.ratio:.1f}x[/]", f"{m.target:g}x",
        )  # fmt: skip
    console.print(table)


def keep(measurements: list[Measurement]) -> Path:
    """Write them as JSON under results/; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    path.write_text(json.dumps({**machine, "measurements": [asdict(m) for m in measurements]}, indent=2))
    return path
