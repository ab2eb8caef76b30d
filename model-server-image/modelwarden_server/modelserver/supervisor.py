"""A child process with user code: started, asked, watched, killed, and started again with back-off.

All calls are plain and blocking, to be made from any thread (engines run in threads; an event loop uses
`asyncio.to_thread`); one call runs at a time, the others wait their turn within their time. What comes from
the child is not believed: it is bounded and checked in wire.py. Must not know what the code is good for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwarden.resources.server import CodeState
from modelwarden_server.modelserver.limits import ChildLimits

Buffer = bytes | npt.NDArray[Any]
"""Bytes, or an array: of numbers in any shape, or of objects (str, int, float, bool, None) in any shape."""


class ChildError(RuntimeError):
    """Why a call has no answer, in a sentence."""


class UserCodeError(ChildError):
    """The user's code raised: type and message, and `details` with the end of its traceback. The message may
    quote rows: for who has sent them, not for logs or status."""

    details: str = ""


class ChildTimeoutError(ChildError):
    """It took longer than it may; the child was killed and is started again."""


class ChildUnavailableError(ChildError):
    """It is not there: loading, failed, or waiting to be started again. `retry_seconds` as a hint."""

    retry_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `handler` is a module of ours that is imported in the child and has
    `load(settings: dict, project: str) -> dict[str, function]`: each function takes (header, buffers) and
    gives (header, buffers), and is what `Child.call` names. User code is imported in `load`, not before.
    It and all that it imports must run on Python 3.8 with nothing but numpy."""

    handler: str
    """`modelwarden_server.modelserver.project`, `modelwarden_server.modelserver.flow.…`"""
    project: Path
    """Folder with the user's files: read-only for the child, first on its sys.path."""
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


class Child:
    """One child. `changed` is called (from a thread of the child's own) when its status has."""

    def __init__(self, spec: ChildSpec, changed: Callable[[ChildStatus], None] | None = None) -> None:
        self.spec, self._changed = spec, changed

    def start(self) -> None:
        """Start it; returns at once. Loading goes on in a thread."""
        raise NotImplementedError

    def wait(self, seconds: float) -> ChildStatus:
        """Its status as soon as it is Ready or Failed, or after that time."""
        raise NotImplementedError

    @property
    def status(self) -> ChildStatus:
        """How it is now."""
        raise NotImplementedError

    def call(
        self,
        name: str,
        header: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        seconds: float | None = None,
    ) -> tuple[dict[str, Any], list[Buffer]]:
        """Have the handler's function `name` run. Arrays that come back are the caller's own.
        Raises UserCodeError, ChildTimeoutError, ChildUnavailableError."""
        raise NotImplementedError

    def predict(self, rows: npt.NDArray[Any], seconds: float | None = None) -> npt.NDArray[Any]:
        """What the user's predict gave for the rows, as an array: contract.py makes outputs of it."""
        raise NotImplementedError

    def encode(self, rows: npt.NDArray[Any], seconds: float | None = None) -> npt.NDArray[np.float64]:
        """(n, e): the matrix that reaches the exported estimator while the user's predict runs on rows."""
        raise NotImplementedError

    def export(self) -> tuple[dict[str, Any], list[Buffer]] | None:
        """The fitted estimator behind predict as header and arrays (explain/exported.py reads them); None
        where none was found."""
        raise NotImplementedError

    def load_image(self, content: bytes) -> npt.NDArray[Any]:
        """The image as the user's `load_image(path)` reads it, or as Pillow does where there is none."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it and wait for its end. It cannot be started again."""
        raise NotImplementedError
