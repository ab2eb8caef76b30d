"""The window that a command asks about: how it is spelled, and what of a command line is sent to the cell.

What this module must not do: know which question it is for.
"""

import argparse
from collections.abc import Iterable

WINDOW = ("start", "end", "batch_id")
"""Parameters of a question that takes a window."""


def add_window(command: argparse.ArgumentParser) -> None:
    """Add `--start`, `--end` and `--batch` to a command."""
    command.add_argument("--start", metavar="TIME", help="with a zone; default: the newest window")
    command.add_argument("--end", metavar="TIME", help="not included")
    command.add_argument("--batch", dest="batch_id", metavar="ID", help="the rows of a batch (batch models)")


def given(parsed: argparse.Namespace, names: Iterable[str]) -> dict[str, str]:
    """Those of the named arguments that were given, as parameters of a question."""
    found = {name: getattr(parsed, name) for name in names}
    return {name: str(value) for name, value in found.items() if value is not None}
