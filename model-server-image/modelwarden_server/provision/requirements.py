"""Lists of Python packages as users wrote them: read, judged by their form, named by their content.

What a line means is pip's business: pins, ranges and options stay as they are. Must not install anything.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelwarden.resources.cell import canonical_json
from modelwarden_server.archives import ArchiveError, ArchiveLimits, read_zipped

FILE: Final = "requirements.txt"
MOST_BYTES: Final = 1 << 20
FORMAT: Final = 1
"""Raised when the same list gives another archive than before."""


class RequirementsError(ValueError):
    """The list cannot be read. The message says why and what to send."""


@dataclass(frozen=True)
class Requirements:
    """One list: the text as it came, and for which Python."""

    text: str
    python: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Its lines without comments on lines of their own, and without empty ones."""
        stripped = (line.strip() for line in self.text.splitlines())
        return tuple(line for line in stripped if line and not line.startswith("#"))

    @property
    def wants_packages(self) -> bool:
        """Whether anything is to be installed: options alone install nothing."""
        return any(not line.startswith("-") or line.startswith(("-e", "-r")) for line in self.lines)

    @property
    def hash(self) -> str:
        """Names the environment, in hex: the same packages for the same Python, whatever the comments say."""
        told = {"format": FORMAT, "python": self.python, "lines": list(self.lines)}
        return hashlib.sha256(canonical_json(told)).hexdigest()


def decoded(content: bytes) -> str:
    """The text of a list. Raises RequirementsError."""
    if len(content) > MOST_BYTES:
        raise RequirementsError(f"the list of packages is larger than {MOST_BYTES} bytes: send a shorter one")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequirementsError("the list of packages is no UTF-8 text: save it as such") from None
    if "\x00" in text:
        raise RequirementsError("the list of packages is no text: send a file like requirements.txt")
    return text


def of_file(path: Path) -> str:
    """The text of a list that was uploaded by itself. Raises RequirementsError, OSError."""
    with path.open("rb") as content:
        return decoded(content.read(MOST_BYTES + 1))


def of_archive(path: Path, limits: ArchiveLimits) -> str | None:
    """The text of requirements.txt at the root of a zip; None if it has none. Raises RequirementsError,
    OSError.
    """
    try:
        with path.open("rb") as content:
            found = read_zipped(content, FILE, MOST_BYTES, limits)
    except ArchiveError as error:
        raise RequirementsError(f"the archive {error}") from None
    return None if found is None else decoded(found)
