"""What a cell is told, as files: identity once, settings and key again whenever they change.

ConfigMap and Secret volumes change by swapping a symbolic link, so content is compared, not time. A
broken new file changes nothing: the cell goes on with what it had and says so in /status.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from modelwarden.resources import cell
from modelwarden.resources.cell import CellIdentity, CellSettings, short_hash

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
Parsed = TypeVar("Parsed")


class ConfigurationError(ValueError):
    """A file that the cell cannot start without is missing or wrong. The message names file and field."""


def read_identity(path: Path) -> CellIdentity:
    """The cell's identity. Raises ConfigurationError."""
    return _parsed(path, cell.read_identity)


def read_settings(path: Path) -> tuple[CellSettings, str]:
    """The cell's settings, and the hash by which their writer knows them. Raises ConfigurationError."""

    def parse(content: bytes) -> tuple[CellSettings, str]:
        return cell.read_settings(content), short_hash(content)

    return _parsed(path, parse)


def read_key(path: Path) -> str:
    """The cell's key, without the newline an editor may have put after it. Raises ConfigurationError."""

    def parse(text: bytes) -> str:
        key = text.decode("ascii").strip()
        if len(key) < 16:
            raise ValueError("shorter than 16 characters")
        return key

    return _parsed(path, parse)


def _parsed(path: Path, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise ConfigurationError(f"{path} is not what it should be: {told}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not what it should be: {error}") from error


@dataclass
class SettingsHolder:
    """The settings and the key in force, read again by `poll`. `error` tells why a newer file is not."""

    current: CellSettings
    key: str
    settings_file: Path | None = None
    key_file: Path | None = None
    error: str | None = None
    hash: str | None = None
    """Of the settings file that was taken last; whoever wrote it knows by this that it has been."""
    _seen: dict[Path, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, settings_file: Path, key_file: Path) -> "SettingsHolder":
        """Read both files. Raises ConfigurationError."""
        settings, digest = read_settings(settings_file)
        return cls(settings, read_key(key_file), settings_file, key_file, hash=digest)

    def poll(self) -> None:
        """Read what changed. Never raises: what is wrong goes into `error` and the log."""
        if self.settings_file is None and self.key_file is None:
            return  # someone else holds them, and says himself what is wrong with them
        errors = []
        for path, take in ((self.settings_file, self._take_settings), (self.key_file, self._take_key)):
            if path is None:
                continue
            try:
                stamp = _stamp(path)
                if self._seen.get(path) != stamp:
                    take(path)
                    self._seen[path] = stamp
            except (ConfigurationError, OSError) as error:
                errors.append(str(error))
        text = "; ".join(errors) or None
        if text is not None and text != self.error:
            log.warning("settings not taken: %s", text)
        self.error = text

    def _take_settings(self, path: Path) -> None:
        settings, digest = read_settings(path)
        if settings != self.current:
            self.current = settings
            log.info("settings of generation %d are in force", settings.generation)
        self.hash = digest

    def _take_key(self, path: Path) -> None:
        self.key = read_key(path)


def _stamp(path: Path) -> tuple[int, ...]:
    found = os.stat(path)  # noqa: PTH116 - follows the link to what it points at now
    return found.st_ino, found.st_mtime_ns, found.st_size
