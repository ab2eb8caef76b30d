"""A child process with user code: started, asked, watched, killed, and started again with back-off.

All calls are plain and blocking, to be made from any thread (engines run in threads; an event loop uses
`asyncio.to_thread`); one call runs at a time, the others wait their turn within their time. What comes from
the child is not believed: it is bounded and checked in wire.py. Must not know what the code is good for.
"""

import ctypes
import logging
import os
import selectors
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.modelserver.limits import disk_excess, memory_excess
from modelwarden_server.modelserver.session import Session, death
from modelwarden_server.modelserver.spec import (
    Buffer,
    ChildDiedError,
    ChildError,
    ChildSpec,
    ChildStatus,
    ChildTimeoutError,
    ChildUnavailableError,
    UserCodeError,
)
from modelwarden_server.modelserver.wire import WireError

__all__ = [
    "Buffer", "Child", "ChildDiedError", "ChildError", "ChildSpec", "ChildStatus", "ChildTimeoutError",
    "ChildUnavailableError", "UserCodeError",
]  # fmt: skip

log = logging.getLogger(__name__)
_PR_SET_DUMPABLE: Final = 4
WATCH_SECONDS: Final = 0.05
_DISK_SECONDS: Final = 1.0
_READ_SECONDS: Final = 10.0
_VERDICT_SECONDS: Final = 2.0
_CRASH_BACK_OFF: Final = (0.5, 60.0)
_LOAD_BACK_OFF: Final = (5.0, 300.0)
_STEADY_SECONDS: Final = 300.0
_MOST_TOLD: Final = 1500


class Child:
    """One child. `changed` is called (from a thread of the child's own) when its status has; `said` is given
    the lines that the code writes while it is loaded. What it writes later may quote rows: nobody sees it."""

    def __init__(
        self,
        spec: ChildSpec,
        changed: Callable[[ChildStatus], None] | None = None,
        said: Callable[[str], None] | None = None,
    ) -> None:
        self.spec = spec
        self._changed, self._said = changed, said
        self._status = ChildStatus("Loading")
        self._condition = threading.Condition()
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._session: Session | None = None
        self._failures = 0
        self._next_start = 0.0
        self._thread = threading.Thread(target=self._supervise, name="child-supervisor", daemon=True)

    def start(self) -> None:
        """Start it; returns at once. Loading goes on in a thread."""
        if sys.platform != "linux":
            self._tell(
                replace(self._status, state="Failed", message="user code can be confined on Linux only")
            )
            return
        _hide_this_process()
        self._thread.start()

    def wait(self, seconds: float) -> ChildStatus:
        """Its status as soon as it is Ready or Failed, or after that time."""
        with self._condition:
            self._condition.wait_for(lambda: self._status.state in ("Ready", "Failed"), seconds)
            return self._status

    @property
    def status(self) -> ChildStatus:
        """How it is now."""
        return self._status

    @property
    def pid(self) -> int | None:
        """The process's id while there is one."""
        session = self._session
        return None if session is None else session.pid

    def call(
        self,
        name: str,
        header: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        seconds: float | None = None,
    ) -> tuple[dict[str, Any], list[Buffer]]:
        """Have the handler's function `name` run. Arrays that come back are the caller's own.
        Raises UserCodeError, ChildTimeoutError, ChildDiedError, ChildUnavailableError; WireError for buffers
        that cannot be sent."""
        limit = self.spec.limits.call_seconds if seconds is None else seconds
        deadline = time.monotonic() + limit
        if not self._turn.acquire(timeout=limit):
            raise ChildUnavailableError("the user's code is busy")
        try:
            session = self._ready()
            answer, given = self._asked(session, name, header or {}, buffers, deadline)
        finally:
            self._turn.release()
        if "error" in answer:
            raise UserCodeError(str(answer["error"]), str(answer.get("details", "")))
        told = answer.get("header")
        return (told if isinstance(told, dict) else {}), given

    def predict(self, rows: npt.NDArray[Any], seconds: float | None = None) -> npt.NDArray[Any]:
        """What the user's predict gave for the rows, as an array: contract.py makes outputs of it."""
        return self._array("predict", [rows], seconds)

    def encode(self, rows: npt.NDArray[Any], seconds: float | None = None) -> npt.NDArray[np.float64]:
        """(n, e): the matrix that reaches the exported estimator while the user's predict runs on rows."""
        encoded = self._array("encode", [rows], seconds)
        if encoded.ndim != 2 or len(encoded) != len(rows) or encoded.dtype.kind not in "fiub":
            raise UserCodeError("what reaches the estimator is no matrix of numbers with a row for each row")
        return encoded.astype(np.float64)

    def export(self, rows: npt.NDArray[Any] | None = None) -> tuple[dict[str, Any], list[Buffer]] | None:
        """The fitted estimator behind predict as header and arrays (explain/exported.py reads them); None
        where none was found. With rows it is the one that predict really asks for them; without, there must
        be only one. The header of an answer without arrays says `why`: see `export_refusal`."""
        told, given = self.call("export", {}, [] if rows is None else [rows])
        if not given:
            self._refusal = str(told.get("why", ""))[:_MOST_TOLD]
            return None
        return told, given

    _refusal = ""

    @property
    def export_refusal(self) -> str:
        """Why the last `export` found nothing, in a sentence."""
        return self._refusal

    def load_image(self, content: bytes, seconds: float | None = None) -> npt.NDArray[Any]:
        """The image as the user's `load_image(path)` reads it, or as Pillow does where there is none."""
        return self._array("load_image", [content], seconds)

    def stop(self) -> None:
        """End it and wait for its end. It cannot be started again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _array(self, name: str, buffers: Sequence[Buffer], seconds: float | None) -> npt.NDArray[Any]:
        _, given = self.call(name, {}, buffers, seconds)
        if len(given) != 1 or isinstance(given[0], bytes):
            raise UserCodeError(f"{name} gave no array")
        return given[0]

    def _ready(self) -> Session:
        session, status = self._session, self._status
        if session is None or session.ready_at is None or session.doom is not None:
            wait = max(1.0, self._next_start - time.monotonic())
            raise ChildUnavailableError(status.message or "the user's code is being loaded", wait)
        return session

    def _asked(
        self,
        session: Session,
        name: str,
        header: Mapping[str, Any],
        buffers: Sequence[Buffer],
        deadline: float,
    ) -> tuple[dict[str, Any], list[Buffer]]:
        left = max(deadline - time.monotonic(), 0.01)
        try:
            return session.call(name, header, buffers, left)
        except TimeoutError:
            session.doom = session.doom or f"{name} took longer than its {left:.0f} s"
            raise ChildTimeoutError(session.doom) from None
        except (EOFError, OSError, WireError) as error:
            if isinstance(error, WireError) and session.untouched:
                raise
            if isinstance(error, WireError):
                session.doom = session.doom or f"{name} gave no proper answer: {error}"
            with self._condition:  # who watches it knows better why it ended
                self._condition.wait_for(lambda: self._session is not session, _VERDICT_SECONDS)
                session.doom = session.doom or f"{name} gave no answer: {error}"
            raise ChildDiedError(f"the user's code ended while it ran: {session.doom}") from None

    def _supervise(self) -> None:
        """The child's own thread. It must live as long as the child: the kernel kills the child with it."""
        while not self._stopping.is_set():
            try:
                session = Session(self.spec)
            except OSError as error:
                self._failed(f"it cannot be started: {error}")
                continue
            self._session = session
            loaded = self._attend(session)
            exited = session.process.poll() is not None
            code = session.end()
            reason = session.doom or (death(code) if exited else "it gave no proper answer")
            with self._condition:
                session.doom = reason
                self._session = None
                self._condition.notify_all()
            if self._stopping.is_set():
                return
            if loaded:
                self._crashed(session, reason)
            else:
                self._failed(_with_last_lines(reason, session))

    def _attend(self, session: Session) -> bool:
        """Listen, watch and, first, wait for the code to be loaded; until it must end. Whether it loaded."""
        next_disk = 0.0
        with selectors.DefaultSelector() as ready:
            ready.register(session.output_fd(), selectors.EVENT_READ, "output")
            ready.register(session.wire_fd(), selectors.EVENT_READ, "wire")
            while not self._stopping.is_set() and session.doom is None:
                for key, _ in ready.select(WATCH_SECONDS):
                    if key.data == "wire":
                        # Afterwards the wire is for who calls.
                        ready.unregister(session.wire_fd())
                        self._pass_on(session, session.listen_out())
                        self._read_loaded(session)
                    else:
                        self._pass_on(session, session.listen())
                        if session.silent:
                            ready.unregister(session.output_fd())
                now = time.monotonic()
                session.doom = session.doom or memory_excess(session.pid, self.spec.limits)
                if now >= next_disk:
                    next_disk = now + _DISK_SECONDS
                    session.doom = session.doom or disk_excess(session.pid, self.spec.work, self.spec.limits)
                if session.ready_at is None and now - session.began > self.spec.limits.load_seconds:
                    session.doom = f"it was not loaded within {self.spec.limits.load_seconds:.0f} s"
                if session.process.poll() is not None:
                    break
        return session.ready_at is not None

    def _pass_on(self, session: Session, lines: Sequence[str]) -> None:
        """What it wrote while it was loaded: once it is called, nobody sees what it writes."""
        if self._said is not None and session.ready_at is None:
            for line in lines:
                self._said(line)

    def _read_loaded(self, session: Session) -> None:
        try:
            told, _ = session.read(time.monotonic() + _READ_SECONDS)
        except (OSError, EOFError, WireError):
            return
        if "error" in told:
            details = str(told.get("details", "")).strip()
            session.doom = f"{told['error']}\n{details}"[:_MOST_TOLD]
            return
        session.ready_at = time.monotonic()
        loaded, isolation = told.get("loaded"), str(told.get("isolation", ""))[:200]
        log.info("user code runs within %s", isolation)
        self._tell(
            replace(
                self._status,
                state="Ready",
                message="",
                python=str(told.get("python", ""))[:20],
                isolation=isolation,
                loaded=loaded if isinstance(loaded, dict) else {},
            )
        )

    def _crashed(self, session: Session, reason: str) -> None:
        assert session.ready_at is not None
        if time.monotonic() - session.ready_at > _STEADY_SECONDS:
            self._failures = 0
        status = replace(self._status, state="Restarting", restarts=self._status.restarts + 1)
        self._pause(_CRASH_BACK_OFF, status, f"the user's code is started again: {reason}")

    def _failed(self, reason: str) -> None:
        self._pause(_LOAD_BACK_OFF, replace(self._status, state="Failed"), reason)

    def _pause(self, back_off: tuple[float, float], status: ChildStatus, message: str) -> None:
        seconds = min(back_off[0] * 2.0 ** min(self._failures, 30), back_off[1])
        self._failures += 1
        self._next_start = time.monotonic() + seconds
        self._tell(replace(status, message=message[:_MOST_TOLD]))
        self._stopping.wait(seconds)

    def _tell(self, status: ChildStatus) -> None:
        with self._condition:
            differs, self._status = status != self._status, status
            self._condition.notify_all()
        if differs and self._changed is not None:
            self._changed(status)


def _with_last_lines(reason: str, session: Session) -> str:
    lines = "\n".join(session.last_lines)
    return f"{reason}\n{lines}" if lines and lines not in reason else reason


def _hide_this_process() -> None:
    """No process of this user may read this one's memory or environment, or trace it (ptrace,
    /proc/…/mem)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")
