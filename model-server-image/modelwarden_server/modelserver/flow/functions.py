"""The user's pre and post functions: found by name in his files, called with as many arguments as they take.

Must not know what they do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, List  # noqa: UP035

from .faults import FlowError
from .values import OpenedFile


class UserFunction:
    """pre(data[, files]) or post(result[, input[, files]])."""

    def __init__(self, path: str, what: str, most: int) -> None:
        """Find it. `path` is module:function, `most` how many arguments there are. Raises FlowError, and
        what importing the module raises."""
        module, colon, name = path.partition(":")
        if not colon:
            module, _, name = path.rpartition(".")
        if not module:
            raise FlowError(f"{what} {path}: write it as module:function")
        function = getattr(import_module(module), name, None)
        if not callable(function):
            raise FlowError(f"{what} {path}: there is no function {name} in {module}")
        self.name = f"{what} {path}"
        self._function: Callable[..., Any] = function
        self.takes = _arguments(function, self.name, most)

    def __call__(self, *arguments: Any) -> Any:
        """Call with the first of these, as many as it takes; files are read from their beginning."""
        for argument in arguments:
            if isinstance(argument, Files):
                argument.rewind()
        return self._function(*arguments[: self.takes])


class Files(List["OpenedFile"]):  # noqa: UP006 - Python 3.8 runs this, too
    """All files of a request."""

    def rewind(self) -> None:
        """Whoever gets them reads them from the beginning."""
        for file in self:
            if not file.closed:
                file.seek(0)


def _arguments(function: Callable[..., Any], name: str, most: int) -> int:
    """How many of `most` arguments it is given."""
    try:
        parameters: Sequence[inspect.Parameter] = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return 1
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return most
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [one for one in parameters if one.kind in kinds]
    needed = [one for one in positional if one.default is inspect.Parameter.empty]
    if not positional or len(needed) > most:
        raise FlowError(f"{name} takes {len(needed)} arguments: it must take 1 to {most}")
    return min(len(positional), most)
