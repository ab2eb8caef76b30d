"""A function as a module of its own: its source, and of what it uses the imports, constants and functions.

What it needs is found in its code, not by running it. What cannot be written down (a closure, an object) is
refused by name, before anything is deployed.
"""

import builtins
import dis
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

from modelwarden.client.conduit.errors import ConduitError

_PLAIN = (str, bytes, int, float, bool, type(None))


def module_of(function: Callable[..., Any], what: str) -> tuple[str, str]:
    """Source of a module that has the function, and the function's name. Raises ConduitError."""
    lines: dict[str, str] = {}
    _add(function, what, lines)
    imports = [text for text in lines.values() if text.startswith(("import ", "from "))]
    rest = [text for text in lines.values() if not text.startswith(("import ", "from "))]
    return "\n\n".join(["\n".join(sorted(imports)), *rest]).strip() + "\n", function.__name__


def _add(function: Callable[..., Any], what: str, lines: dict[str, str]) -> None:
    """The function, after everything that it uses."""
    name = getattr(function, "__name__", "")
    if not inspect.isfunction(function) or name == "<lambda>":
        raise ConduitError(f"{what} must be a function made with def: give it a name")
    if function.__closure__:
        names = ", ".join(function.__code__.co_freevars)
        raise ConduitError(f"{what} {name} uses {names} of the function around it: define it on its own")
    if name in lines:
        return
    lines[name] = ""  # it may call itself
    for used in dict.fromkeys(_globals(function.__code__)):
        if used in function.__globals__:
            _add_used(used, function.__globals__[used], f"{what} {name}", lines)
        elif not hasattr(builtins, used):
            raise ConduitError(
                f"{what} {name} uses {used}, which is not defined: import it inside of the function"
            )
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise ConduitError(
            f"{what} {name}: its source cannot be read: define it in a file or a notebook"
        ) from None
    if source.lstrip().startswith("@"):
        raise ConduitError(f"{what} {name} has a decorator: take it off")
    lines.pop(name)  # after what it uses
    lines[name] = source.strip() + "\n"


def _add_used(name: str, value: Any, what: str, lines: dict[str, str]) -> None:
    if isinstance(value, types.ModuleType):
        lines[name] = f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
    elif isinstance(value, _PLAIN):
        lines[name] = f"{name} = {value!r}\n"
    elif inspect.isfunction(value) and not _installed(value):
        if value.__name__ != name:
            raise ConduitError(f"{what} uses {value.__name__} under the name {name}: use its own name")
        _add(value, what, lines)
    elif (
        getattr(value, "__module__", None)
        and getattr(value, "__qualname__", "") == name
        and _installed(value)
    ):
        lines[name] = f"from {value.__module__} import {name}"
    else:
        raise ConduitError(
            f"{what} uses {name}, a {type(value).__name__} from outside: make or import it inside of the"
            " function"
        )


def _installed(value: Any) -> bool:
    """Whether it comes from a package that others can install, not from a file or notebook of the user's."""
    module = inspect.getmodule(value)
    path = getattr(module, "__file__", None)
    return (
        module is not None
        and module.__name__ != "__main__"
        and (path is None or "site-packages" in path or "/lib/python" in path)
    )


def _globals(code: types.CodeType) -> Iterator[str]:
    """Names that the code, functions inside of it included, takes from outside."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)
