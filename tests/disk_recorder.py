"""What a disk holds after a power cut: replays the operations that `faults/disk_shim.c` wrote down, up to a
chosen moment, and loses what was not synced.

Strict as POSIX allows: content is safe after fsync of the file, a name after fsync of its folder. Of what was
not synced, each write may be there, in part or not at all; of the names of a folder, any first few changes.
"""

import os
import random
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<cQQQQ")
_PAGE = 4096
SHIM = Path(__file__).parent / "faults" / "disk_shim.c"


def built_shim(folder: Path) -> Path:
    """The compiled recorder."""
    library = folder / "disk_shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    return library


@dataclass(frozen=True)
class _Operation:
    kind: str
    inode: int
    offset: int
    first: bytes
    second: bytes
    end: int


@dataclass
class _File:
    """Content that is safe, and writes (or truncations) that are not: offset and bytes, or size and None."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.safe, offset, data)
        self.pending = []

    def after_the_cut(self, chance: random.Random) -> bytes:
        content = bytearray(self.safe)
        for offset, data in self.pending:
            if data is None:
                if chance.random() < 0.5:
                    _apply(content, offset, None)
                continue
            for start in range(0, len(data), _PAGE):
                if chance.random() < 0.5:
                    _apply(content, offset + start, data[start : start + _PAGE])
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(max(0, offset - len(content))))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


@dataclass
class _Folder:
    """Names that are safe, and changes that are not: a name and its file, or None for a name that goes."""

    safe: dict[str, _File] = field(default_factory=dict)
    now: dict[str, _File] = field(default_factory=dict)
    pending: list[list[tuple[str, _File | None]]] = field(default_factory=list)

    def change(self, *changes: tuple[str, _File | None]) -> None:
        self.pending.append(list(changes))
        _rename(self.now, changes)

    def sync(self) -> None:
        self.safe, self.pending = dict(self.now), []

    def after_the_cut(self, chance: random.Random) -> dict[str, _File]:
        names = dict(self.safe)
        for changes in self.pending[: chance.randint(0, len(self.pending))]:
            _rename(names, changes)
        return names


def _rename(
    names: dict[str, _File], changes: "list[tuple[str, _File | None]] | tuple[tuple[str, _File | None], ...]"
) -> None:
    for name, file in changes:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


class Disk:
    """The disk under `root`, as operations are replayed on it. Folders are safe as soon as they are made."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, _Folder] = defaultdict(_Folder)
        self._inodes: dict[int, _File | _Folder] = {}

    def replay(self, operation: _Operation) -> None:
        """One operation."""
        path = operation.first.decode() if operation.kind in "COTRHUM" else ""
        match operation.kind:
            case "C" | "T" | "O":
                self._open(operation.kind, path, operation.inode)
            case "W" | "L":
                file = self._inodes.get(operation.inode)
                if isinstance(file, _File):
                    data = operation.first if operation.kind == "W" else None
                    file.pending.append((operation.offset, data))
            case "S":
                if (synced := self._inodes.get(operation.inode)) is not None:
                    synced.sync()
            case "R" | "H":
                self._name(operation.kind, path, operation.second.decode())
            case "U":
                folder, name = os.path.split(path)
                if name in self._folders[folder].now:
                    self._folders[folder].change((name, None))
                self._folders.pop(path, None)
            case "M":
                self._folders[path] = _Folder()

    def write(self, target: Path, chance: random.Random) -> None:
        """What the disk holds if the power goes now, as files in `target`."""
        for name, folder in self._folders.items():
            place = target / os.path.relpath(name, self._root)
            if not Path(name).is_relative_to(self._root):
                continue
            place.mkdir(parents=True, exist_ok=True)
            for file_name, file in folder.after_the_cut(chance).items():
                (place / file_name).write_bytes(file.after_the_cut(chance))

    def _open(self, kind: str, path: str, inode: int) -> None:
        folder, name = os.path.split(path)
        if kind == "C":
            file = _File()
            self._inodes[inode] = file
            self._folders[folder].change((name, file))
        elif path in self._folders:
            self._inodes[inode] = self._folders[path]
        elif (known := self._folders[folder].now.get(name)) is not None:
            self._inodes[inode] = known
            if kind == "T":
                known.pending.append((0, None))

    def _name(self, kind: str, old: str, new: str) -> None:
        (from_folder, from_name), (folder, name) = os.path.split(old), os.path.split(new)
        file = self._folders[from_folder].now.get(from_name)
        if file is None:
            if old in self._folders:
                self._folders[new] = self._folders.pop(old)
            return
        if kind == "H":
            self._folders[folder].change((name, file))
        elif folder == from_folder:
            self._folders[folder].change((from_name, None), (name, file))
        else:
            self._folders[folder].change((name, file))
            self._folders[from_folder].change((from_name, None))


def operations(trace: Path) -> Iterator[_Operation]:
    """What was written down, as far as it is whole."""
    with trace.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, inode, offset, first, second = _HEAD.unpack(head)
            content = file.read(first + second)
            if len(content) < first + second:
                return
            yield _Operation(kind.decode(), inode, offset, content[:first], content[first:], file.tell())


def after_power_cuts(
    trace: Path, root: Path, cuts: list[int], seed: int
) -> Iterator[tuple[int, Disk, random.Random]]:
    """At each of the ascending places in the trace, the disk as it was used up to there."""
    disk, left = Disk(root), iter(operations(trace))
    done = 0
    for cut in cuts:
        while done < cut and (operation := next(left, None)) is not None:
            disk.replay(operation)
            done = operation.end
        yield cut, disk, random.Random(f"{seed} {cut}")
