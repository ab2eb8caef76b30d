"""The child that runs user code: gives up its rights, loads the code by a handler of ours, answers calls.

Started by supervisor.py as `python -I -S -B -u -c …` with one end of a socketpair. It reads and writes that
end as a file, for the filter leaves it no socket calls. It runs in the user's environment, on Python 3.8 or
later with numpy alone. Must not import anything of the user's before it is confined.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modelwarden_server.modelserver.confine import confine

if TYPE_CHECKING:
    Handler = dict[str, Callable[[dict[str, Any], list[Any]], tuple[dict[str, Any], list[Any]]]]


MOST_MESSAGE = 2_000
OUT_OF_MEMORY = 77
"""The exit code of a child that had no memory for what it was sent."""
MOST_DETAILS = 8_000
_DEEPEST = 20
_OURS = re.compile(r"[/\\](modelwarden_server|importlib)[/\\]")


def main(wire_fd: int) -> None:
    """Serve until the other end is closed. The first message says what to run: see ChildSpec."""
    # Interactive signals are for the model server, which ends its children itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    boot = _boot_message(wire_fd)
    isolation = confine(boot["parent"], boot["readable"], boot["writable"], boot["limits"])
    # Only now: from here on what is imported may be the user's.
    _set_path(boot["path"])
    from modelwarden_server.modelserver import wire

    def answer(header: dict[str, Any], buffers: list[Any]) -> None:
        wire.write_message(lambda view: _write(wire_fd, view), header, buffers)

    try:
        handler, loaded = _loaded(boot)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything, SystemExit too
        answer({"call": 0, **_failure(error)}, [])
        return
    answer({"call": 0, "python": platform.python_version(), "isolation": isolation, "loaded": loaded}, [])
    while True:
        try:
            header, buffers = wire.read_message(lambda view: _read_into(wire_fd, view), boot["most_bytes"])
        except EOFError:
            return
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # half of the message is still on its way: there is no next one
        number = header["call"]
        try:
            told, given = handler[header["name"]](header["header"], buffers)
            answer({"call": number, "header": told}, given)
        except BaseException as error:  # noqa: BLE001
            answer({"call": number, **_failure(error)}, [])


def _boot_message(wire_fd: int) -> dict[str, Any]:
    """Plain JSON behind its length: numpy is not there yet, it may be the user's own."""
    import json

    size = bytearray(4)
    _read_into(wire_fd, memoryview(size))
    content = bytearray(int.from_bytes(size, "little"))
    _read_into(wire_fd, memoryview(content))
    return dict(json.loads(bytes(content)))


def _set_path(path: dict[str, Any]) -> None:
    """The project, then the standard library, then packages. Packages of an environment of its own may have
    .pth files, which are run: code like the rest of it."""
    own = path["own"]
    sys.path[:] = [entry for entry in sys.path if entry != own]
    sys.path.insert(0, path["project"])
    if path["environment"]:
        import site

        site.addsitedir(path["environment"])
    sys.path.extend(path["packages"])
    os.chdir(path["project"])


def _loaded(boot: dict[str, Any]) -> tuple[Handler, Any]:
    module = importlib.import_module(boot["handler"])
    handler: Handler = module.load(boot["settings"], boot["path"]["project"])
    loaded = handler["loaded"]({}, [])[0] if "loaded" in handler else {}
    return handler, loaded


def _failure(error: BaseException) -> dict[str, Any]:
    """The error for people: its kind and message, and the end of the traceback, cut to the user's own
    frames."""
    kind = type(error)
    if isinstance(error, MemoryError):
        return {"error": "MemoryError: it needs more memory than it may have", "details": ""}
    try:
        message = f"{kind.__name__}: {error}"
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if not frame.filename.startswith("<frozen")]
        theirs = [frame for frame in theirs if not _OURS.search(frame.filename)]
        details = "".join(traceback.format_list(theirs[-_DEEPEST:]))
        details += "".join(traceback.format_exception_only(kind, error))
    except Exception:  # noqa: BLE001 - an exception whose own __str__ raises
        message = details = kind.__name__
    return {"error": _text(message)[:MOST_MESSAGE], "details": _text(details)[-MOST_DETAILS:]}


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _write(wire_fd: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(wire_fd, view[: 1 << 20]) :]


def _read_into(wire_fd: int, view: memoryview) -> None:
    while view.nbytes:
        count = os.readv(wire_fd, [view])
        if not count:
            raise EOFError
        view = view[count:]
