"""What a child is to run, and how it is with one: plain values and the errors of calls.

Must not start anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from modelwarden.resources.server import CodeState
from modelwarden_server.modelserver.limits import ChildLimits

Buffer = bytes | npt.NDArray[Any]
"""Bytes, or an array: of numbers in any shape, or of objects (str, int, float, bool, None) in any shape."""


class ChildError(RuntimeError):
    """Why a call has no answer, in a sentence."""


class UserCodeError(ChildError):
    """The user's code raised: kind and message; `details` has the end of its traceback. Both may quote rows:
    for who has sent them, not for logs or status."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class ChildTimeoutError(ChildError):
    """It took longer than it may; the child was killed and is started again."""


class ChildDiedError(ChildError):
    """It ended while it ran this call, or gave no proper answer; it is started again."""


class ChildUnavailableError(ChildError):
    """It is not there: loading, failed, busy for all the time given, or about to be started again."""

    def __init__(self, message: str, retry_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `handler` is a module of ours that is imported in the child and has
    `load(settings: dict, project: str) -> dict[str, function]`: each function takes (header, buffers) and
    gives (header, buffers), and is what `Child.call` names. User code is imported in `load`, not before.
    A function `loaded` among them is called once, without arguments, for what the status tells.
    The module and all that it imports must run on Python 3.8 with nothing but numpy."""

    handler: str
    """`modelwarden_server.modelserver.project`, `modelwarden_server.modelserver.flow.…`"""
    project: Path
    """Folder with the user's files: read-only for the child, first on its sys.path, and where it runs."""
    work: Path
    """Folder that the child may write; emptied at each start, and its HOME and TMPDIR."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """JSON for `load`."""
    environment: Path | None = None
    """site-packages made for this code. None: the packages of this process."""
    interpreter: Path | None = None
    """The Python that runs it (interpreter.py chooses). None: this process's."""
    limits: ChildLimits = field(default_factory=ChildLimits)
    uid: int | None = None
    """The user to become, where this process is root; None: stay."""


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """How it is with a child now."""

    state: CodeState
    message: str = ""
    """In a sentence; of a failure the last lines that the user's code wrote while it was loaded."""
    python: str = ""
    loaded: Mapping[str, Any] = field(default_factory=dict)
    """What the handler's function `loaded`, if it has one, told of the code."""
    isolation: str = ""
    """What holds the code in, in a sentence; says what this kernel lacks."""
    restarts: int = 0
