"""The one error a person is meant to read: what went wrong, and what to do next.

Everything else that escapes is a defect of the testbed and keeps its traceback.
"""

from pathlib import Path


class SetupError(Exception):
    """Something on this machine is missing or failed; the message ends with what to do about it."""


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, indented for an error message; empty when there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])
