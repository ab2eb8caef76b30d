"""Runs a cluster's programs, and ends with them: the parent of every process the testbed starts.

Run by its path, not imported: `python -I -S supervisor.py`, and it takes orders as lines of JSON on
standard input. When that ends (the caller is gone) every child is killed, unless it was told to
`detach`. If it is killed itself the kernel ends the children. So no crash leaks a process.

Must stay one file of the standard library alone: it starts before anything else, and in the own
node it is process 1 of the node.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
RESTART_AFTER_SECONDS = 1.0
STOP_SECONDS = 5.0


def die_with_parent() -> None:
    """Called in a child before exec: the kernel kills it when this process ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Child:
    """One program: how it is started, and the process if it runs."""

    argv: list[str]
    log: str
    environment: dict[str, str] = field(default_factory=dict)
    restart: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    ended_at: float | None = None
    exit_code: int | None = None
    restarts: int = 0

    def start(self) -> None:
        with open(self.log, "ab") as log:  # noqa: PTH123 - no pathlib: starts in half the time
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                preexec_fn=die_with_parent,
            )
        self.ended_at = self.exit_code = None


class Supervisor:
    """Children by name, and the loop that waits for orders and for the death of children."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self.attached = True
        self.folder = ""
        self.parent = os.getppid()

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order, one answer; `{"error": …}` if it cannot be done."""
        name = order.get("name", "")
        match order["do"]:
            case "start":
                fields = {
                    key: order[key] for key in ("argv", "log", "environment", "restart") if key in order
                }
                child = self.children[name] = Child(**fields)
                try:
                    child.start()
                except OSError as error:
                    return {"error": f"{child.argv[0]}: {error.strerror}"}
                assert child.process is not None
                return {"pid": child.process.pid}
            case "stop":
                return {"exit_code": self.stop(self.children[name], order.get("signal", signal.SIGTERM))}
            case "state":
                return {each: child.exit_code for each, child in self.children.items()}
            case "restarts":
                return {each: child.restarts for each, child in self.children.items()}
            case "remove at the end":
                self.folder = order["folder"]
                return {}
            case "detach":
                self.attached = False
                return {}
            case unknown:
                return {"error": f"unknown order {unknown!r}"}

    def stop(self, child: Child, number: int) -> int | None:
        """Ends a child for good; kills it if it does not go."""
        child.restart = False
        if child.process is None or child.exit_code is not None:
            return child.exit_code
        child.process.send_signal(number)
        try:
            child.exit_code = child.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.exit_code = child.process.wait()
        return child.exit_code

    def reap(self) -> None:
        """Takes note of children that ended; as process 1 also collects other processes' orphans."""
        for child in self.children.values():
            if child.process is not None and child.exit_code is None:
                child.exit_code = child.process.poll()
                if child.exit_code is not None:
                    child.ended_at = time.monotonic()
        if os.getpid() == 1:
            own = {child.process.pid for child in self.children.values() if child.process is not None}
            self._collect_orphans(own)
        for child in self.children.values():
            if child.restart and child.ended_at and time.monotonic() - child.ended_at > RESTART_AFTER_SECONDS:
                child.restarts += 1
                with contextlib.suppress(OSError):
                    child.start()

    @staticmethod
    def _collect_orphans(own: set[int]) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in own:  # our own are collected by their Popen
                return
            os.waitpid(found.si_pid, 0)

    def end(self) -> NoReturn:
        """Kills what is left, the newest first."""
        for child in reversed(self.children.values()):
            if child.process is not None and child.exit_code is None:
                child.process.kill()
        for child in self.children.values():
            if child.process is not None:
                child.process.wait()
        if self.folder:
            import shutil

            shutil.rmtree(self.folder, ignore_errors=True)
        sys.exit(0)

    def run(self) -> NoReturn:
        """Until standard input ends, the parent is gone, or a signal says so."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.end())
        wakeup, woken = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(wakeup, selectors.EVENT_READ)
            selector.register(sys.stdin, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(timeout=1)}
                if wakeup in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wakeup, 4096)
                self.reap()
                if self.attached and os.getppid() != self.parent:
                    self.end()
                if sys.stdin in ready:
                    self._listen(selector)

    def _listen(self, selector: selectors.BaseSelector) -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            if self.attached:
                self.end()
            selector.unregister(sys.stdin)
            return
        try:
            answer = self.obey(json.loads(line))
        except KeyError as missing:
            answer = {"error": f"no child named {missing}"}
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    Supervisor().run()
