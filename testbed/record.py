"""What is written down about an own node, so that the next run knows it, finds it or removes it.

The slot is written before anything is made: from it and the name follows everything there is to remove.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.cache import cache_folder, write_atomically
from testbed.errors import SetupError
from testbed.processes import Process

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Record:
    """A cluster that was begun. `init` is process 1 of its node; `ready` when `up` came to its end."""

    name: str
    slot: int
    programs: str
    init: Process | None = None
    ready: bool = False

    @property
    def folder(self) -> Path:
        return clusters_folder() / self.name

    @property
    def cgroup(self) -> str:
        return f"modelwarden/{self.name}"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "record.json", json.dumps(asdict(self), indent=1))

    @classmethod
    def parse(cls, text: str) -> "Record":
        """Raises ValueError for anything but what `write` writes."""
        fields: dict[str, Any] = json.loads(text)
        try:
            init = Process(**fields.pop("init")) if fields.get("init") else None
            return cls(**{**fields, "init": init})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a record of a cluster: {error}") from None


def clusters_folder() -> Path:
    return cache_folder() / "clusters"


def checked_name(name: str) -> str:
    """The name itself. It becomes part of paths, cgroups and the node's name."""
    if not NAME.fullmatch(name):
        raise SetupError(f"{name!r} cannot name a cluster: use small letters, digits and dashes, at most 31.")
    return name


def read_record(name: str) -> Record | None:
    """None if there is no such cluster, or what is left of it cannot be read."""
    try:
        record = Record.parse((clusters_folder() / checked_name(name) / "record.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if record.name == name else None


def all_records() -> list[Record]:
    """Of every cluster on this machine that was begun and not removed."""
    names = sorted(path.parent.name for path in clusters_folder().glob("*/record.json"))
    return [record for name in names if NAME.fullmatch(name) and (record := read_record(name))]
