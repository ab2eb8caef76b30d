"""The caller's end of a supervisor: starts one, sends orders, reads answers.

Knows the protocol of supervisor.py and nothing of what the programs are.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.errors import SetupError, tail

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class Orders:
    """A running supervisor. Safe to use from several threads."""

    def __init__(self, command: Sequence[str] | None = None, errors: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._errors = errors
        with contextlib.ExitStack() as opened:
            self._process = subprocess.Popen(
                # Unbuffered input: select() must see what readline() has not taken yet.
                command or [sys.executable, "-I", "-S", "-u", str(SUPERVISOR)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=opened.enter_context(errors.open("ab")) if errors else None,
                start_new_session=True,  # Ctrl-C goes to the caller, who then stops things in order
            )

    def start(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        restart: bool = False,
    ) -> int:
        """Starts a program and gives its process id. With `restart` it is started again if it ends."""
        order = {"do": "start", "name": name, "argv": list(argv), "log": str(log)}
        answer = self._ask(order | {"environment": environment or {}, "restart": restart})
        return int(answer["pid"])

    def stop(self, name: str, signal: int = 15) -> int | None:
        """Ends a program, by force after 5 seconds; gives its exit code, negative for a signal."""
        code: int | None = self._ask({"do": "stop", "name": name, "signal": signal})["exit_code"]
        return code

    def state(self) -> dict[str, int | None]:
        """Exit code of each program that was started; None while it runs."""
        return self._ask({"do": "state"})

    def restarts(self) -> dict[str, int]:
        """How often each program has ended and been started again."""
        return self._ask({"do": "restarts"})

    def remove_at_the_end(self, folder: Path) -> None:
        """The supervisor removes the folder when it ends, also when the caller was killed."""
        self._ask({"do": "remove at the end", "folder": str(folder)})

    def detach(self) -> None:
        """The supervisor and its programs outlive the caller from now on."""
        self._ask({"do": "detach"})

    def close(self) -> None:
        """Ends the supervisor (and so its programs, unless detached)."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()
        self._process.wait(30)

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except (BrokenPipeError, ValueError):
                line = b""
        if not line:
            raise SetupError(
                "The cluster's programs have ended with the process that watched over them; start it again.\n"
                + (tail(self._errors) if self._errors else "")
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SetupError(f"Could not {order['do']} {order.get('name', '')}: {answer['error']}")
        return answer
