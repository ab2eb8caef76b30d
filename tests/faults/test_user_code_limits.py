"""User code that takes more than it may, or will not end: it is ended, its neighbours go on, it is started
again."""

import ctypes
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import confined_child
import numpy as np
import pytest

from modelwarden_server.modelserver.supervisor import (
    Child,
    ChildDiedError,
    ChildStatus,
    ChildTimeoutError,
    ChildUnavailableError,
    UserCodeError,
)
from modelwarden_server.modelserver.wire import WireError

pytestmark = pytest.mark.faults
Start = Callable[..., Child]
SECONDS = 180.0


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[Child] = []
    with confined_child.place() as folder:

        def started(
            entrypoint: str = confined_child.ENTRYPOINT,
            changed: Callable[[ChildStatus], None] | None = None,
            **limits: float,
        ) -> Child:
            made = folder / str(len(children))
            made.mkdir()
            wanted = confined_child.spec(made, confined_child.project(made, entrypoint))
            wanted = replace(wanted, limits=replace(confined_child.LIMITS, **limits))
            child = Child(wanted, changed)
            children.append(child)
            child.start()
            return child

        yield started
        for child in children:
            child.stop()


def ready(child: Child) -> Child:
    status = child.wait(SECONDS)
    assert status.state == "Ready", status.message
    return child


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second while it is being read
        return True
    return state == "Z"


def again(child: Child) -> str:
    """The answer of a child that is started again meanwhile."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return confined_child.attempt(child, "result = 'here'")
        except ChildUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


TAKING_TOO_MUCH = {
    "memory bit by bit": ("kept = []\nwhile True: kept.append(bytes(1000_000))", "MemoryError"),
    "memory at once": ("kept = bytearray(4 << 30)", "MemoryError"),
    "shared memory": (
        "import mmap; m = mmap.mmap(-1, 2 << 30)\nfor at in range(0, 2 << 30, 4096): m[at] = 1",
        "MiB of memory",
    ),
    "threads": (
        (
            "import threading, time; threading.stack_size(65536)\n"
            "while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
        ),
        "threads",
    ),
    "files": (
        (
            "for n in range(100):\n"
            "  with open(os.environ['HOME'] + f'/{n}', 'wb') as f: f.write(bytes(4 << 20))\n"
            "import time; time.sleep(600)"
        ),
        "MiB of files",
    ),
    "files without names": (
        (
            "kept = []\nimport tempfile, time\nfor n in range(20):\n  kept.append(tempfile.TemporaryFile()); "
            "kept[-1].write(bytes(4 << 20))\ntime.sleep(600)"
        ),
        "MiB of files",
    ),
    "ending itself": ("os._exit(3)", "ended by itself with code 3"),
    "garbage as an answer": ("os.write(wire(), b'x' * 100000); import time; time.sleep(600)", "no message"),
    "an answer too large": (
        (
            "import struct, time, json;"
            "head = json.dumps({'header': {}, 'buffers': [{'kind': 'bytes', 'bytes': 1 << 60}]});"
            "os.write(wire(), struct.pack('<4sI', b'MWc1', len(head)) + head.encode()); time.sleep(600)"
        ),
        "more than",
    ),
    "an answer to another call": (
        (
            "import struct, json; head = json.dumps({'header': {'call': 99}, 'buffers': []});"
            "os.write(wire(), struct.pack('<4sI', b'MWc1', len(head)) + head.encode())"
        ),
        "another call",
    ),
    "closing the wire": ("os.close(wire())", "ended"),
}


@pytest.mark.parametrize(("text", "reason"), TAKING_TOO_MUCH.values(), ids=TAKING_TOO_MUCH.keys())
def test_a_child_that_takes_too_much_is_ended(start: Start, text: str, reason: str) -> None:
    child = ready(start())
    with pytest.raises((UserCodeError, ChildDiedError), match=reason):
        confined_child.attempt(child, "import os\n" + text)


def test_a_child_that_crashed_is_started_again_and_says_so(start: Start) -> None:
    told: list[ChildStatus] = []
    child = ready(start(changed=told.append))
    with pytest.raises(ChildDiedError, match="SIGSEGV"):
        confined_child.attempt(child, "import ctypes; ctypes.string_at(0)")
    assert again(child) == "here"
    until(lambda: len(told) >= 3)
    assert [status.state for status in told] == ["Ready", "Restarting", "Ready"]
    assert "SIGSEGV" in told[1].message
    assert child.status.state == "Ready"


def test_a_file_has_a_most_size(start: Start) -> None:
    child = ready(start())
    text = "import os; open(os.environ['HOME'] + '/f', 'wb').write(bytes(9 << 20))"
    assert confined_child.attempt(child, text) == "OSError"
    more = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))"
    assert confined_child.attempt(child, more) in ("ValueError", "PermissionError")


def test_an_endless_call_is_killed_in_its_time_and_the_next_is_answered(start: Start) -> None:
    child = ready(start())
    pid, began = child.pid, time.monotonic()
    deaf = "import signal; signal.signal(15, signal.SIG_IGN)\nwhile True: pass"
    with pytest.raises(ChildTimeoutError):
        confined_child.attempt(child, deaf, 0.5)
    assert time.monotonic() - began < 20
    assert pid is not None
    until(lambda: gone(pid))
    assert again(child) == "here"
    assert child.status.restarts == 1


def test_who_waits_for_a_busy_child_is_told_so(start: Start) -> None:
    child = ready(start())
    busy = "import os\nwhile not os.path.exists(os.environ['HOME'] + '/go'): pass"
    thread = threading.Thread(target=lambda: confined_child.attempt(child, busy))
    thread.start()
    try:
        until(lambda: child._turn.locked())
        with pytest.raises(ChildUnavailableError, match="busy"):
            confined_child.attempt(child, "result = 1", 0.2)
    finally:
        (child.spec.work / "go").touch()
        thread.join()


LOADS = {
    "no module": ("", {"import_path": "absent"}, "no absent.py at the root"),
    "no function": ("x = 1", {}, r"no function predict\(x\)"),
    "missing package": ("import a_package_that_is_not_there", {}, "add its package to the requirements"),
    "syntax": ("def predict(x)\n", {}, "SyntaxError"),
    "raises": (
        "print('before it fell'); raise KeyError('weights')",
        {},
        "KeyError: 'weights'(.|\n)*before it fell",
    ),
    "exits": ("import sys; sys.exit(2)", {}, "SystemExit"),
    "ends": ("import os; print('last words', flush=True); os._exit(2)", {}, "code 2(.|\n)*last words"),
    "too large": ("kept = [bytes(50 << 20) for _ in range(20)]", {}, "memory"),
    "socket": ("import socket; socket.socket()", {}, "PermissionError"),
}


@pytest.mark.parametrize(("entrypoint", "settings", "message"), LOADS.values(), ids=LOADS.keys())
def test_code_that_cannot_be_loaded_says_why(
    tmp_path: Path, entrypoint: str, settings: dict[str, str], message: str
) -> None:
    wanted = confined_child.spec(tmp_path, confined_child.project(tmp_path, entrypoint))
    child = Child(replace(wanted, settings={**wanted.settings, **settings}))
    child.start()
    try:
        status = child.wait(SECONDS)
        assert status.state == "Failed"
        assert re.search(message, status.message), status.message
        with pytest.raises(ChildUnavailableError):
            child.predict(np.zeros((1, 1)))
    finally:
        child.stop()


def test_code_that_loads_for_ever_fails_and_can_be_stopped(start: Start) -> None:
    child = start("while True: pass", load_seconds=1)
    assert "not loaded within 1 s" in child.wait(SECONDS).message
    began = time.monotonic()
    child.stop()
    assert time.monotonic() - began < 20


def test_what_it_prints_is_bounded_and_told_only_while_it_loads(start: Start, tmp_path: Path) -> None:
    said: list[str] = []
    prints = "\nprint('loading'); print('x' * 3_000_000); print('last', flush=True)\n"
    entrypoint = confined_child.ENTRYPOINT + prints
    made = confined_child.project(tmp_path, entrypoint)
    child = Child(confined_child.spec(tmp_path, made), said=said.append)
    child.start()
    try:
        ready(child)
        assert (said[0], said[-1]) == ("loading", "last")
        assert max(map(len, said)) <= 500
        confined_child.attempt(child, "for _ in range(1000): print('a row of somebody', 'y' * 10000)")
        assert "somebody" not in "".join(said)
    finally:
        child.stop()


def test_a_child_does_not_outlive_the_model_server(tmp_path: Path) -> None:
    made = confined_child.project(tmp_path)
    script = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import confined_child, time
from modelwarden_server.modelserver.supervisor import Child
child = Child(confined_child.spec(Path({str(tmp_path)!r}), Path({str(made)!r})))
child.start(); child.wait({SECONDS})
print(child.pid, flush=True)
confined_child.attempt(child, "while True: pass", 600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until(lambda: gone(pid))


SECCOMP_ALONE = """
import sys, os, ctypes, socket, fcntl, json
sys.path.insert(0, sys.argv[1])
from modelwarden_server.modelserver import seccomp
parent = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
seccomp.install(os.getpid())
def how(function):
    try:
        function()
    except OSError as error:
        return error.errno
    return "done"
r, w = os.pipe()
print(json.dumps({
    "socket": how(lambda: socket.socket()),
    "unix": how(lambda: socket.socket(socket.AF_UNIX)),
    "fork": how(os.fork),
    "kill": how(lambda: os.kill(parent, 0)),
    "owner": how(lambda: fcntl.fcntl(r, 8, parent)),
    "environ": how(lambda: os.setpriority(0, parent, 19)),
    "thread": how(lambda: __import__("threading").Thread(target=int).start()),
    "itself": how(lambda: os.kill(os.getpid(), 0)),
}))
"""


def test_without_landlock_seccomp_still_closes_sockets_processes_and_signals() -> None:
    root = str(Path(confined_child.__file__).parents[1] / "model-server-image")
    command = [sys.executable, "-c", SECCOMP_ALONE, root]
    told = subprocess.run(command, capture_output=True, check=True, timeout=SECONDS)
    found = json.loads(told.stdout.splitlines()[-1])
    refused = {name: code for name, code in found.items() if name not in ("thread", "itself")}
    assert set(refused.values()) == {1}, refused
    assert (found["thread"], found["itself"]) == ("done", "done")


def test_the_model_server_is_closed_to_its_own_user_while_it_has_children(start: Start) -> None:
    ready(start())
    # PR_GET_DUMPABLE: with 0 the kernel lets nobody of this user see its memory, environment or open files.
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0


def test_more_than_it_has_memory_for_is_said_to_be_so(start: Start) -> None:
    child = ready(start(memory_bytes=240 << 20))
    confined_child.attempt(child, "import builtins, numpy; builtins.kept = numpy.empty(15_000_000)")
    with pytest.raises(ChildDiedError, match="no memory left"):
        child.predict(np.zeros((1000, 14_000)))
    assert again(child) == "here"
    with pytest.raises(WireError, match="cannot be asked at once"):
        child.predict(np.broadcast_to(np.zeros(1), (1 << 20, 1 << 10)))
    assert confined_child.attempt(child, "result = 'still here'") == "still here"
