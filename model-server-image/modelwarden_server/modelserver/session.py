"""One run of a child process: started, told what to run, exchanging messages, listened to, ended.

Must not decide when it is started or ended, nor believe what it says: see supervisor.py.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from modelwarden_server.modelserver.child import OUT_OF_MEMORY
from modelwarden_server.modelserver.spec import Buffer, ChildSpec
from modelwarden_server.modelserver.wire import WireError, read_message, write_message

_OWN: Final = Path(__file__).resolve().parents[2]
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[2]);"
    " from modelwarden_server.modelserver.child import main; main(int(sys.argv[1]))"
)
_LONGEST_LINE: Final = 500
_KEPT_LINES: Final = 20
_SOCKET_BUFFER: Final = 1 << 20
_PIECE: Final = 1 << 16
_MOST_PIECES: Final = 16
"""A pipe holds no more."""


class Session:
    """A process that runs. Its wire is for one thread at a time, `listen` for one thread ever."""

    def __init__(self, spec: ChildSpec) -> None:
        """Start it. Raises OSError."""
        self.spec = spec
        self.began = time.monotonic()
        self.ready_at: float | None = None
        self.doom: str | None = None
        """Why it must end, in a sentence: set by whoever finds out first."""
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.silent = False
        """Its output was closed."""
        self.untouched = True
        """The last call has not yet sent a byte."""
        self._half_line = b""
        self._calls = 0
        _empty(spec.work, spec.uid)
        self._wire, theirs = socket.socketpair()
        self._output, written = os.pipe()
        try:
            self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self.process = self._started(theirs.fileno(), written)
            self._tell_what_to_run()
        except BaseException:
            self._wire.close()
            os.close(self._output)
            raise
        finally:
            theirs.close()
            os.close(written)
        os.set_blocking(self._output, False)

    def _started(self, wire: int, output: int) -> "subprocess.Popen[bytes]":
        spec = self.spec
        python = spec.interpreter or Path(sys.executable)
        return subprocess.Popen(
            [str(python), "-I", "-S", "-B", "-u", "-c", _BOOT, str(wire), str(_OWN)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[wire],
            env=_environment(spec),
            cwd=spec.work,
            umask=0o077,
            # A group of its own: no signal meant for the model server reaches it, none of its own leaves it.
            start_new_session=True,
            user=spec.uid,
            group=spec.uid,
            extra_groups=None if spec.uid is None else [],
        )

    def _tell_what_to_run(self) -> None:
        spec = self.spec
        packages = [] if spec.environment else _own_packages()
        environment = [] if spec.environment is None else [str(spec.environment)]
        boot = {
            "parent": os.getpid(),
            "handler": spec.handler,
            "settings": dict(spec.settings),
            "limits": asdict(spec.limits) | {"memory_bytes": spec.limits.memory_bytes * 9 // 10},
            "most_bytes": spec.limits.message_bytes,
            "readable": [str(spec.project), str(_OWN / "modelwarden_server"), *environment, *packages],
            "writable": [str(spec.work)],
            "path": {
                "own": str(_OWN),
                "project": str(spec.project),
                "environment": environment[0] if environment else None,
                "packages": packages,
            },
        }
        content = json.dumps(boot).encode()
        self._wire.settimeout(10)
        self._wire.sendall(len(content).to_bytes(4, "little") + content)

    @property
    def pid(self) -> int:
        """The process's id; it is not given to another before `end`."""
        return self.process.pid

    def wire_fd(self) -> int:
        """For selectors: readable when there is an answer, or the end."""
        return self._wire.fileno()

    def output_fd(self) -> int:
        """For selectors: readable when there is output."""
        return self._output

    def call(
        self, name: str, header: Mapping[str, Any], buffers: Sequence[Buffer], seconds: float
    ) -> tuple[dict[str, Any], list[Buffer]]:
        """Send a call and read its answer: the answer's own header (`error` in it: it failed) and buffers.
        Raises TimeoutError, EOFError, OSError, and WireError: if anything but what was to be sent is at
        fault, the session is of no further use."""
        deadline = time.monotonic() + seconds
        self._calls += 1
        self.untouched = True
        self._write({"call": self._calls, "name": name, "header": dict(header)}, buffers, deadline)
        answer, given = self.read(deadline)
        if answer.get("call") != self._calls:
            raise WireError("the answer is to another call")
        return answer, given

    def read(self, deadline: float) -> tuple[dict[str, Any], list[Buffer]]:
        """Read one message. Raises as `call` does."""

        def read_into(view: memoryview) -> None:
            while view.nbytes:
                self._wire.settimeout(max(deadline - time.monotonic(), 0.001))
                count = self._wire.recv_into(view)
                if not count:
                    raise EOFError("the process ended")
                view = view[count:]

        return read_message(read_into, self.spec.limits.message_bytes)

    def _write(self, header: dict[str, Any], buffers: Sequence[Buffer], deadline: float) -> None:
        def write(view: memoryview) -> None:
            self.untouched = False
            self._wire.settimeout(max(deadline - time.monotonic(), 0.001))
            self._wire.sendall(view)

        most = self.spec.limits.message_bytes
        if sum(_bytes(buffer) for buffer in buffers) > most:
            raise WireError(f"more than {most} bytes cannot be asked at once")
        write_message(write, header, buffers)

    def listen(self) -> list[str]:
        """The lines that were written since; keeps the last ones. Never waits, reads a bounded piece."""
        try:
            piece = os.read(self._output, _PIECE)
        except BlockingIOError:
            return []
        self.silent = not piece
        *whole, self._half_line = (self._half_line + piece).split(b"\n")
        self._half_line = self._half_line[:_LONGEST_LINE]
        lines = [_line(line) for line in whole if line.strip()]
        self.last_lines.extend(lines)
        return lines

    def listen_out(self) -> list[str]:
        """As `listen`, all that is there by now."""
        heard: list[str] = []
        for _ in range(_MOST_PIECES):
            lines = self.listen()
            if not lines:
                break
            heard += lines
        return heard

    def end(self) -> int:
        """Kill it if it still runs, and wait for its end: its exit code, -signal for one that was killed."""
        self.process.kill()
        code = self.process.wait()
        self._wire.close()
        self.listen_out()
        if self._half_line.strip():
            self.last_lines.append(_line(self._half_line))
        os.close(self._output)
        return code


def death(code: int) -> str:
    """How it ended on its own, in a sentence."""
    if code == -signal.SIGKILL:
        return "it was killed from outside: most likely the container ran out of memory"
    if code == OUT_OF_MEMORY:
        return "it had no memory left for what it was asked: give the model server more"
    if code == -signal.SIGABRT:
        return "it was aborted (SIGABRT), as native code is that gets no memory: its last lines say why"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    return f"it ended by itself with code {code}"


def _bytes(buffer: Buffer) -> int:
    """Its size, about: of objects that of their pointers, as the reader counts them."""
    return len(buffer) if isinstance(buffer, bytes) else buffer.nbytes


def _environment(spec: ChildSpec) -> dict[str, str]:
    """Nothing of this process's environment: it is for people's settings and, elsewhere, keys."""
    threads = str(max(1, spec.limits.cpus))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS")
    work = str(spec.work)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": work,
        "TMPDIR": work,
        "XDG_CACHE_HOME": work,
        "MPLCONFIGDIR": work,
        "USER_PROJECT_SOURCE_DIR": str(spec.project),
        # There is no network: libraries that know of it need not try.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # Workers would be processes, which there are none of.
        "JOBLIB_MULTIPROCESSING": "0",
        "TOKENIZERS_PARALLELISM": "false",
        **dict.fromkeys(names, threads),
    }


def _own_packages() -> list[str]:
    return [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]


def _empty(work: Path, uid: int | None) -> None:
    """An empty folder for the child alone. What a former one left there may be hostile: nothing is
    followed."""
    if work.exists():
        for entry in list(work.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, onerror=_again)
            else:
                entry.unlink()
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    if uid is not None:
        os.chown(work, uid, uid)


def _again(function: Any, path: str, _error: Any) -> None:
    """A folder without rights can be made; its owner can give them back."""
    parent = Path(path).parent
    for folder in (parent, Path(path)):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)
    function(path)


def _line(line: bytes) -> str:
    text = line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip()
    return "".join(sign if sign.isprintable() or sign == "\t" else "�" for sign in text)
