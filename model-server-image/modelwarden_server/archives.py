"""Archives that users send, checked and unpacked: the zip of a project, the tar of an environment.

Used at the door, before anything is kept, and again where an archive is unpacked. Nothing of it is imported,
unpickled or run here. Bounds hold before memory or disk is spent: by what the archive says of itself first,
by what really comes out after. Must not know who sent it, nor where it is kept.
"""

import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

_TAIL: Final = 22 + 65_535 + 20
_ENTRY_BYTES: Final = 46 + 1024
_PIECE: Final = 1 << 20
_LONGEST_NAME: Final = 1024
_LONGEST_PART: Final = 255
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What file managers add on their own: left out without a word.
_LITTER: Final = ("__MACOSX", ".DS_Store", "Thumbs.db")


class ArchiveError(ValueError):
    """Why an archive is not taken: a sentence to follow its name, with what to do."""


class ArchiveTooLargeError(ArchiveError):
    """It is larger than its limits: to be answered with 413."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Most bytes as sent, most bytes unpacked (all files together), most files."""

    packed_bytes: int = 1 << 30
    unpacked_bytes: int = 2 << 30
    entries: int = 20_000


FILES_LIMITS: Final = ArchiveLimits(packed_bytes=3 << 30, unpacked_bytes=6 << 30, entries=50_000)
"""Of a served model's files: weights may be large."""
ENVIRONMENT_LIMITS: Final = ArchiveLimits(packed_bytes=8 << 30, unpacked_bytes=20 << 30, entries=400_000)


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file of an archive: its path below the root, with slashes, and its size unpacked in bytes."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class CheckedArchive:
    """What an archive holds, checked: files only, in the archive's order."""

    files: tuple[ArchivedFile, ...]

    @property
    def bytes(self) -> int:
        """What it comes to when it is unpacked."""
        return sum(file.bytes for file in self.files)

    def __contains__(self, path: object) -> bool:
        return any(file.path == path for file in self.files)


def module_files(import_path: str) -> tuple[str, str]:
    """The two places where the module of an import path may be: `a.b` (or `a.b:function`) is a/b.py or
    a/b/__init__.py."""
    place = import_path.partition(":")[0].replace(".", "/")
    return f"{place}.py", f"{place}/__init__.py"


def check_zip(
    content: BinaryIO, limits: ArchiveLimits = ArchiveLimits(), wanted: Sequence[Sequence[str]] = ()
) -> CheckedArchive:
    """Check a zip without unpacking it. `content` can seek. `wanted`: of each entry one path must be among
    the files, for example `[module_files("entrypoint")]`. Raises ArchiveError, ArchiveTooLargeError."""
    with _opened(content, limits) as archive:
        checked = CheckedArchive(
            tuple(ArchivedFile(name, info.file_size) for name, info in _files(archive, limits))
        )
    _check_wanted(checked, wanted)
    return checked


def read_zipped(
    content: BinaryIO, path: str, most_bytes: int, limits: ArchiveLimits = ArchiveLimits()
) -> bytes | None:
    """The bytes of one file of a zip; None where it has none of that path. Raises ArchiveError."""
    with _opened(content, limits) as archive:
        for name, info in _files(archive, limits):
            if name == path:
                if info.file_size > most_bytes:
                    raise ArchiveTooLargeError(
                        f"holds {_told(path)} of {info.file_size} bytes, more than {most_bytes}"
                    )
                return b"".join(_pieces(archive, info))
    return None


def unpack_zip(
    content: BinaryIO,
    target: Path,
    limits: ArchiveLimits = ArchiveLimits(),
    wanted: Sequence[Sequence[str]] = (),
) -> CheckedArchive:
    """Check a zip and unpack it to the folder `target`, which must not be there: it appears whole or not at
    all. Raises ArchiveError, ArchiveTooLargeError, OSError."""
    checked = check_zip(content, limits, wanted)
    with _opened(content, limits) as archive, _appearing(target) as folder:
        for name, info in _files(archive, limits):
            place = folder / name
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with place.open("xb") as file:
                for piece in _pieces(archive, info):
                    file.write(piece)
    return checked


def unpack_tar(content: BinaryIO, target: Path, limits: ArchiveLimits = ENVIRONMENT_LIMITS) -> CheckedArchive:
    """Unpack a tar (plain or gzip), read once from its start, to the folder `target`, which must not be
    there: it appears whole or not at all. Files and folders only. Raises ArchiveError, ArchiveTooLargeError,
    OSError."""
    files: dict[str, ArchivedFile] = {}
    left = limits.unpacked_bytes
    with _appearing(target) as folder:
        try:
            with tarfile.open(fileobj=content, mode="r|*", errorlevel=2) as archive:
                for count, member in enumerate(archive):
                    _check_count(count + 1, limits)
                    if member.isdir():
                        continue
                    if not member.isreg():
                        raise ArchiveError(f"holds {_told(member.name)}, a link or no file")
                    name = _name(member.name.removeprefix("./"))
                    left -= member.size
                    _check_bytes(left, limits)
                    if name in files:
                        raise ArchiveError(f"has two files of the name {_told(name)}")
                    files[name] = ArchivedFile(name, member.size)
                    _copy_member(archive, member, folder / name)
        except (tarfile.TarError, zlib.error, EOFError) as error:
            raise ArchiveError(f"cannot be unpacked: {_line(error)}") from None
        except (FileExistsError, NotADirectoryError):
            raise ArchiveError("has a file and a folder of one name") from None
    return CheckedArchive(tuple(files.values()))


def directory_size(content: BinaryIO) -> tuple[int, int] | None:
    """How many entries the directory of a zip has and how many bytes, as its last record says; None where
    there is no such record. Reads a few bytes: to be asked before anyone reads the directory into memory."""
    size = content.seek(0, os.SEEK_END)
    start = content.seek(max(0, size - _TAIL))
    tail = content.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        return None
    entries, directory = struct.unpack_from("<HL", tail, at + 10)
    large = entries == 0xFFFF or directory == 0xFFFFFFFF
    if large and at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        (place,) = struct.unpack_from("<Q", tail, at - 12)
        content.seek(min(place, start + at))
        record = content.read(56)
        if len(record) == 56 and record[:4] == b"PK\x06\x06":
            entries, directory = struct.unpack_from("<QQ", record, 32)
    return entries, directory


def _opened(content: BinaryIO, limits: ArchiveLimits) -> zipfile.ZipFile:
    size = content.seek(0, os.SEEK_END)
    if size > limits.packed_bytes:
        raise ArchiveTooLargeError(f"has {size} bytes, more than {limits.packed_bytes}")
    directory = directory_size(content)
    if directory is None:
        raise ArchiveError("is no zip file, or not the whole of one: zip the files and send it again")
    entries, directory_bytes = directory
    _check_count(entries, limits)
    if directory_bytes > limits.entries * _ENTRY_BYTES:
        raise ArchiveTooLargeError(f"has a directory for more than {limits.entries} files")
    content.seek(0)
    try:
        return zipfile.ZipFile(content)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise ArchiveError(f"is no zip file that can be read: {_line(error)}") from None


def _files(archive: zipfile.ZipFile, limits: ArchiveLimits) -> list[tuple[str, zipfile.ZipInfo]]:
    """The files that count, by their checked names."""
    files: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    left = limits.unpacked_bytes
    _check_count(len(archive.infolist()), limits)
    for info in archive.infolist():
        name = _name(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"holds {_told(name)}, a link or no file: put the file itself into the zip")
        parts = name.split("/")
        if info.is_dir() or any(part in _LITTER for part in parts):
            continue
        _check_entry(name, info)
        left -= info.file_size
        _check_bytes(left, limits)
        if name in files:
            raise ArchiveError(f"has two files of the name {_told(name)}")
        files[name] = info
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if not files:
        raise ArchiveError("holds no files")
    if clash := folders & files.keys():
        raise ArchiveError(f"has a file and a folder of the name {_told(min(clash))}")
    return list(files.items())


def _check_entry(name: str, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise ArchiveError(f"holds {_told(name)}, which is encrypted: send it without a password")
    if info.compress_type not in _METHODS:
        raise ArchiveError(f"holds {_told(name)}, packed in a way not known here: use zip's own (deflate)")


def _check_wanted(checked: CheckedArchive, wanted: Sequence[Sequence[str]]) -> None:
    paths = {file.path for file in checked.files}
    for places in wanted:
        if any(place in paths for place in places):
            continue
        # The commonest mistake: the folder was zipped instead of what is in it.
        nested = [path for path in paths for place in places if path.endswith(f"/{place}")]
        if nested:
            found = min(nested, key=len)
            folder = found[: -len(next(place for place in places if found.endswith(f"/{place}"))) - 1]
            raise ArchiveError(
                f"has {places[0]} in the folder {_told(folder)}, it must be at the root: zip what is in the"
                " folder, not the folder itself"
            )
        raise ArchiveError(f"has no {places[0]} at its root")


def _check_count(entries: int, limits: ArchiveLimits) -> None:
    if entries > limits.entries:
        raise ArchiveTooLargeError(f"holds {entries} files or more, the most is {limits.entries}")


def _check_bytes(left: int, limits: ArchiveLimits) -> None:
    if left < 0:
        raise ArchiveTooLargeError(f"comes to more than {limits.unpacked_bytes} bytes when it is unpacked")


def _name(filename: str) -> str:
    """The path below the root. Raises ArchiveError for one that leads elsewhere or that no file can have."""
    parts = filename.removesuffix("/").split("/")
    odd = "\\" in filename or ":" in parts[0] or any(ord(sign) < 32 or ord(sign) == 127 for sign in filename)
    if odd or any(part in ("", ".", "..") for part in parts):
        raise ArchiveError(f"holds {_told(filename)}, which is no path below its root")
    try:
        long = len(filename.encode()) > _LONGEST_NAME or any(len(p.encode()) > _LONGEST_PART for p in parts)
    except UnicodeEncodeError:
        raise ArchiveError(f"holds {_told(filename)}, a name that is no UTF-8") from None
    if long:
        raise ArchiveError(f"holds {_told(filename)}, a name too long for a file")
    return "/".join(parts)


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of an entry: exactly as many as it says it has, checked by its CRC."""
    came = 0
    try:
        with archive.open(info) as source:
            while piece := source.read(_PIECE):
                came += len(piece)
                yield piece
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise ArchiveError(
            f"holds {_told(info.filename)}, which cannot be unpacked: {_line(error)}"
        ) from None
    if came != info.file_size:
        raise ArchiveError(f"holds {_told(info.filename)} of another size than it says")


def _copy_member(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    source = archive.extractfile(member)
    assert source is not None
    with place.open("xb") as file:
        shutil.copyfileobj(cast("BinaryIO", source), file, _PIECE)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill that takes its name when the block ends well and is gone when it does not."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _told(name: str) -> str:
    return ascii(name[:100])


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
