"""The supervisor with real processes: nothing outlives whoever asked for it, unless told to."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.api_client import wait_until
from testbed.errors import SetupError
from testbed.orders import Orders
from testbed.processes import Process

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; print('up', flush=True); time.sleep(300)"]
FAILING = [sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"]
PROJECT = Path(__file__).parents[2]


def eventually(condition: Callable[[], bool]) -> None:
    wait_until(condition, 120, lambda: "the condition never held")


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Orders]:
    orders = Orders(errors=tmp_path / "supervisor.log")
    yield orders
    orders.close()


def started(orders: Orders, name: str, log: Path, *, restart: bool = False) -> Process:
    process = Process.of(orders.start(name, SLEEPER, log, restart=restart))
    assert process is not None
    return process


def test_a_program_runs_and_writes_its_log(orders: Orders, tmp_path: Path) -> None:
    started(orders, "sleeper", tmp_path / "log")
    eventually(lambda: (tmp_path / "log").read_text() == "up\n")
    assert orders.state() == {"sleeper": None}


def test_a_stopped_program_ends_by_the_signal_it_was_sent(orders: Orders, tmp_path: Path) -> None:
    process = started(orders, "sleeper", tmp_path / "log")
    assert orders.stop("sleeper", signal.SIGKILL) == -signal.SIGKILL
    assert not process.alive()


def test_a_program_that_ends_is_noticed(orders: Orders, tmp_path: Path) -> None:
    orders.start("failing", FAILING, tmp_path / "log")
    eventually(lambda: orders.state() == {"failing": 3})


def test_a_program_that_dies_is_started_again_if_wanted(orders: Orders, tmp_path: Path) -> None:
    process = started(orders, "sleeper", tmp_path / "log", restart=True)
    process.kill()
    eventually(lambda: orders.restarts() == {"sleeper": 1} and orders.state() == {"sleeper": None})


def test_a_program_that_cannot_be_started_is_named(orders: Orders, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="/no/such/program"):
        orders.start("missing", ["/no/such/program"], tmp_path / "log")


def test_what_was_never_started_cannot_be_stopped(orders: Orders) -> None:
    with pytest.raises(SetupError, match="nobody"):
        orders.stop("nobody")


def test_everything_ends_when_the_orders_end(tmp_path: Path) -> None:
    orders = Orders()
    process = started(orders, "sleeper", tmp_path / "log", restart=True)
    orders.close()
    assert not process.alive()


def test_a_folder_of_the_callers_is_removed_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    orders = Orders()
    orders.remove_at_the_end(folder)
    orders.close()
    assert not folder.exists()


CALLER = f"""
import sys; sys.path.insert(0, {str(PROJECT)!r})
from pathlib import Path
from testbed.orders import Orders
orders = Orders()
print(orders.start("sleeper", {SLEEPER!r}, Path(sys.argv[1]), restart=True), flush=True)
if sys.argv[2] == "detach":
    orders.detach()
    print(orders._process.pid, flush=True)
sys.stdin.readline()
"""


def caller(log: Path, how: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", CALLER, str(log), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_nothing_outlives_a_caller_that_is_killed(tmp_path: Path) -> None:
    with caller(tmp_path / "log", "stay") as other:
        assert other.stdout is not None
        process = Process.of(int(other.stdout.readline()))
        assert process is not None
        other.kill()
        other.wait()
        eventually(lambda: not process.alive())


def child_of(process: Process) -> Process | None:
    """The one child a process has now."""
    try:
        numbers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    return Process.of(int(numbers[0])) if numbers else None


def test_a_detached_supervisor_works_on_without_its_caller_and_takes_its_programs_along(
    tmp_path: Path,
) -> None:
    with caller(tmp_path / "log", "detach") as other:
        assert other.stdout is not None
        first, supervisor = (Process.of(int(other.stdout.readline())) for _ in range(2))
        assert first is not None
        assert supervisor is not None
        other.kill()
        other.wait()
    try:
        first.kill()
        eventually(lambda: child_of(supervisor) not in (None, first))  # it works: started again
        second = child_of(supervisor)
    finally:
        supervisor.kill()
    assert second is not None
    eventually(lambda: not second.alive())
