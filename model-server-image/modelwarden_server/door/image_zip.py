"""The zip of images that comes with a file of rows: which names it has, and the bytes behind each, checked.

Nothing is ever unpacked to a path: an entry is read when a row names it, into memory, up to a bound. What
an image is, its first bytes say and Pillow's header check confirms. Must not keep images.
"""

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BytesIO

from PIL import Image, UnidentifiedImageError

from modelwarden.resources.cell import LimitSettings
from modelwarden_server.archives import directory_size
from modelwarden_server.door.multipart import ReceivedFile
from modelwarden_server.door.parquet_pieces import OversizedFileError, UnreadableFileError

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "TIFF": "image/tiff"}
MOST_PIXELS = 25_000_000
MOST_BYTES = 64 << 20
_MOST_RATIO = 200
_RATIO_FROM = 1 << 20
_ENTRY_BYTES = 46 + 1024


class ImageProblem(ValueError):  # noqa: N818 - a problem of the sender's, told in an answer
    """Why an image is not taken, as a sentence to follow the name of its attribute."""


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """Most entries, and most bytes they may come to."""

    entries: int
    unpacked_bytes: int


class ImageZip:
    """One zip. Rows name its entries by their path, with or without a leading slash."""

    def __init__(self, content: BufferedRandom, limits: ZipLimits) -> None:
        """Read the directory. Raises UnreadableFileError or OversizedFileError."""
        _check_directory(content, limits)
        try:
            self._zip = zipfile.ZipFile(content)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnreadableFileError(f"image_data is no zip file that can be read: {_line(error)}") from None
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        _check(entries, limits)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = _name(entry.filename)
            if name in self._entries:
                raise UnreadableFileError(f"image_data has two entries of the name {_told(name)}")
            self._entries[name] = entry
        self._known: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def image_id(self, name: str) -> str:
        """The id of the image that a row calls `name`: the SHA-256 of its bytes. Raises ImageProblem."""
        entry = self._entry(name)
        known = self._known.get(entry.filename)
        if known is None:
            content = self._read(entry)
            image_format(content)
            known = self._known[entry.filename] = hashlib.sha256(content).hexdigest()
        return known

    def content(self, name: str) -> bytes:
        """The bytes of that image."""
        return self._read(self._entry(name))

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._entries.get(name.replace("\\", "/").lstrip("/"))
        if entry is None:
            raise ImageProblem("names an image that is not in image_data")
        return entry

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        """The entry's bytes: never more than it says it has, nor than an image may have."""
        try:
            with self._zip.open(entry) as source:
                content = source.read(entry.file_size)
                whole = len(content) == entry.file_size and not source.read(1)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
            raise ImageProblem("names an entry of image_data that cannot be unpacked") from None
        if not whole:
            raise ImageProblem("names an entry of image_data that has another size than it says")
        return content


def opened_zip(images: ReceivedFile, limits: LimitSettings) -> ImageZip:
    """The zip that was received. Raises UnreadableFileError or OversizedFileError."""
    if not images.size:
        raise UnreadableFileError(f"the part {images.part} is empty: send the zip again")
    return ImageZip(images.content, ZipLimits(limits.max_zip_entries, limits.max_decompressed_bytes))


def image_format(content: bytes) -> str:
    """PNG, JPEG, GIF or TIFF. Raises ImageProblem for anything else and for too many pixels."""
    with opened(content) as image:
        return str(image.format)


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """The image, its header read, no pixel yet. Raises ImageProblem."""
    try:
        image = Image.open(BytesIO(content), formats=tuple(FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageProblem(_TOO_LARGE) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        raise ImageProblem("names an entry that is no PNG, JPEG, GIF or TIFF image") from None
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ImageProblem(_TOO_LARGE)
        yield image


_TOO_LARGE = f"names an image of more than {MOST_PIXELS} pixels"


def _check_directory(content: BufferedRandom, limits: ZipLimits) -> None:
    """Refuse a directory that would not fit into memory, before anyone reads it."""
    size = directory_size(content)
    if size is None:
        raise UnreadableFileError("image_data is no zip file, or not the whole of one: send it again")
    entries, directory = size
    if entries > limits.entries or directory > limits.entries * _ENTRY_BYTES:
        raise OversizedFileError(
            f"image_data holds {entries} files, more than {limits.entries} (ingest.limits.maxZipEntries)"
        )


def _check(entries: list[zipfile.ZipInfo], limits: ZipLimits) -> None:
    if not entries:
        raise UnreadableFileError("image_data holds no files")
    if len(entries) > limits.entries:
        raise OversizedFileError(
            f"image_data holds {len(entries)} files, more than {limits.entries} (ingest.limits.maxZipEntries)"
        )
    if sum(entry.file_size for entry in entries) > limits.unpacked_bytes:
        raise OversizedFileError(
            f"image_data comes to more than {limits.unpacked_bytes} bytes when it is unpacked"
            " (ingest.limits.maxDecompressedSize)"
        )
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UnreadableFileError(f"image_data: {_told(entry.filename)} is a link or no file")
        if entry.flag_bits & 1:
            raise UnreadableFileError(f"image_data: {_told(entry.filename)} is encrypted")
        packed = max(entry.compress_size, 1)
        if entry.file_size > MOST_BYTES:
            raise OversizedFileError(
                f"image_data: {_told(entry.filename)} has more than {MOST_BYTES} bytes: send smaller images"
            )
        if entry.file_size > _RATIO_FROM and entry.file_size > _MOST_RATIO * packed:
            raise OversizedFileError(
                f"image_data: {_told(entry.filename)} is packed more than {_MOST_RATIO} times: no image is"
            )


def _name(filename: str) -> str:
    """The entry's name as rows call it. Raises UnreadableFileError for a path that climbs."""
    name = filename.replace("\\", "/").lstrip("/")
    if ".." in name.split("/") or "\x00" in name or not name:
        raise UnreadableFileError(f"image_data: {_told(filename)} is no path of a file")
    return name


def _told(name: str) -> str:
    return ascii(name[:100])


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
