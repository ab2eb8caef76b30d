"""What is written below the attributes of a class, read from the source when somebody asks.

pydantic would read it for each class as that is made, which is half of what importing the resources costs, in
every process; only who generates schemas needs it. Must not be imported by what serves.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

_Texts = dict[str, str]


def attribute_docstrings(cls: type) -> _Texts:
    """Attribute → what is written below it, in this class or in the one that it has the attribute from."""
    told: _Texts = {}
    for made in reversed(cls.__mro__):
        if (module := sys.modules.get(made.__module__)) is None or made.__module__ == "builtins":
            continue
        own = vars(made).get("__annotations__", {})
        told = {name: text for name, text in told.items() if name not in own}
        if own:
            told |= _documented(module.__name__).get(made.__qualname__, {})
    return told


@cache
def _documented(module: str) -> dict[str, _Texts]:
    """Of each class of a module, by its qualified name."""
    return dict(_classes(ast.parse(inspect.getsource(sys.modules[module])), ""))


def _classes(node: ast.AST, inside: str) -> Iterator[tuple[str, _Texts]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.ClassDef(name=name, body=body):
                yield inside + name, _below_attributes(body)
                yield from _classes(child, f"{inside}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _classes(child, f"{inside}{name}.<locals>.")
            case _:
                yield from _classes(child, inside)


def _below_attributes(body: list[ast.stmt]) -> _Texts:
    told: _Texts = {}
    for statement, below in pairwise(body):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                told[name] = inspect.cleandoc(text)
    return told
