"""Where a Job reads files of the user's: a mounted folder, the web, an object store; one file at a time.

What is not local is copied into the Job's own folder first, bounded, and checked where there is something to
check against. Must not know the store, nor look into a file beyond its first bytes. Messages name hosts and
paths, never a query or a credential.
"""

import hashlib
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pyarrow as pa
from pyarrow import fs

from modelwarden.resources.sources import HttpSource, ObjectStoreSource, Source
from modelwarden_server.jobs.store_client import Patience

MOST_FILES = 10_000
_PIECE = 1 << 20
_REDIRECTS = 5
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class SourceError(Exception):
    """The source cannot be loaded, now or later. The message says why and what to do."""


class SourceAwayError(Exception):
    """The source did not answer properly: the Job may be started again later."""


@dataclass(frozen=True)
class Surroundings:
    """What the Job's pod has: the mounted source, credentials, trusted certificates, a folder to work in."""

    workdir: Path
    mount: Path
    credentials: Path | None = None
    ca_bundle: Path | None = None
    most_bytes: int = 4 << 30
    patience: Patience = field(default_factory=Patience)


def files_of(source: Source, around: Surroundings) -> Iterator[Path]:
    """The source's files in the order of their names; each may be gone when the next one is drawn.

    Names that begin with `.` or `_` are marks of whoever wrote the others, and left out. Raises SourceError,
    SourceAwayError, OSError.
    """
    return (file.path for file in named_files_of(source, around, _is_mark))


@dataclass(frozen=True)
class NamedFile:
    """A file and what it is called below the folder or prefix that the source names."""

    name: str
    path: Path


LeftOut = Callable[[str], bool]
"""Whether files and folders of that name are left out."""


def named_files_of(source: Source, around: Surroundings, left_out: LeftOut) -> Iterator[NamedFile]:
    """As `files_of`, with their names; which ones count is the caller's to say."""
    if source.persistent_volume_claim is not None:
        yield from _mounted(around, source.persistent_volume_claim.path, left_out)
    elif source.config_map is not None:
        yield from _mounted(around, source.config_map.key, left_out)
    elif source.http is not None:
        name = PurePosixPath(unquote(urlsplit(source.http.url).path)).name
        yield NamedFile(name or "file", _fetched(source.http, around))
    elif source.object_store is not None:
        yield from _objects(source.object_store, around, left_out)
    else:
        raise SourceError("uploads are not loaded by a Job")


def check_format(file: Path, wanted: str) -> None:
    """Raises SourceError if the file's first bytes are not of the format that the spec states."""
    with file.open("rb") as content:
        head = content.read(64)
    found = "parquet" if head.startswith(b"PAR1") else "json" if head.lstrip()[:1] in (b"[", b"{") else None
    if found != wanted:
        raise SourceError(f"{file.name} is {found or 'neither parquet nor JSON'}, spec.format is {wanted}")


def _mounted(around: Surroundings, path: str, left_out: LeftOut) -> Iterator[NamedFile]:
    root = around.mount.resolve()
    named = (root / path.lstrip("/")).resolve()
    if not named.is_relative_to(root):
        raise SourceError(f"path {path} leads out of the volume")
    if not named.exists():
        raise SourceError(f"there is no {path} on the volume")
    found = [named] if named.is_file() else sorted(_inside(named, left_out))
    if not found:
        raise SourceError(f"{path} holds no files")
    _check_number(len(found))
    for file in found:
        if not file.resolve().is_relative_to(root):
            raise SourceError(f"{file.name} is a link that leads out of the volume")
        _check_size(file.name, file.stat().st_size, around)
        yield NamedFile(file.name if named.is_file() else file.relative_to(named).as_posix(), file)


def _inside(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """Files below a folder, but those that are left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not left_out(name)]
        yield from (Path(parent) / name for name in names if not left_out(name))


def _is_mark(name: str) -> bool:
    return name.startswith((".", "_"))


def _fetched(source: HttpSource, around: Surroundings) -> Path:
    """The file on the web, checked against its hash."""
    host = urlsplit(source.url).hostname or "the host"
    file = around.workdir / "fetched"
    last = ""
    for attempt in range(around.patience.attempts):
        if attempt:
            around.patience.wait(attempt - 1)
        try:
            with _client(around) as client:
                found = _download(client, source.url, file, around)
        except httpx.TransportError as error:
            last = f"{host}: {type(error).__name__}"
        except httpx.TooManyRedirects:
            raise SourceError(f"{host} redirects more than {_REDIRECTS} times") from None
        except _NotNowError as error:
            last = f"{host}: status {error}"
        else:
            if found != source.sha256:
                raise SourceError(
                    f"what {host} sent has the SHA-256 {found}, spec.source.http.sha256 is {source.sha256}"
                )
            return file
    raise SourceAwayError(f"no proper answer in {around.patience.attempts} attempts, the last: {last}")


class _NotNowError(Exception):
    """A status after which the same request may succeed."""


def _client(around: Surroundings) -> httpx.Client:
    trusted: ssl.SSLContext | bool = True
    if around.ca_bundle is not None:
        trusted = ssl.create_default_context()
        trusted.load_verify_locations(around.ca_bundle)
    return httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=_REDIRECTS, verify=trusted)


def _download(client: httpx.Client, url: str, file: Path, around: Surroundings) -> str:
    """The SHA-256 of what came."""
    digest, seen = hashlib.sha256(), 0
    # As it is: a file that is served compressed has the hash of what is decompressed by nobody.
    with (
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        file.open("wb") as out,
    ):
        if response.status_code in _AGAIN:
            raise _NotNowError(response.status_code)
        if response.status_code != 200:
            raise SourceError(f"{response.url.host} answers with status {response.status_code}")
        for piece in response.iter_raw(_PIECE):
            seen += len(piece)
            _check_size("the file", seen, around)
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def _objects(source: ObjectStoreSource, around: Surroundings, left_out: LeftOut) -> Iterator[NamedFile]:
    scheme, _, place = source.uri.partition("://")
    if scheme != "s3":
        raise SourceError(f"spec.source.objectStore.uri: {scheme} is not read by this version, only s3 is")
    with _told(source):
        store = fs.S3FileSystem(**_s3_options(source, around))
        names = _names(store, place.rstrip("/"), left_out)
    for name, size in names:
        _check_size(name, size, around)
        file = around.workdir / "object"
        with _told(source), store.open_input_stream(name) as content, file.open("wb") as out:
            seen = 0
            while piece := content.read(_PIECE):
                seen += len(piece)
                _check_size(name, seen, around)
                out.write(piece)
        below = PurePosixPath(name).relative_to(place.rstrip("/")).as_posix()
        yield NamedFile(PurePosixPath(name).name if below == "." else below, file)


def _names(store: fs.S3FileSystem, place: str, left_out: LeftOut) -> list[tuple[str, int]]:
    info = store.get_file_info(place)
    if info.type is fs.FileType.File:
        return [(place, info.size)]
    found = store.get_file_info(fs.FileSelector(place, recursive=True, allow_not_found=True))
    files = [
        (entry.path, entry.size)
        for entry in found
        if entry.type is fs.FileType.File
        and not any(map(left_out, PurePosixPath(entry.path).relative_to(place).parts))
    ]
    if not files:
        raise SourceError(f"there are no objects under {place}")
    _check_number(len(files))
    return sorted(files)


def _s3_options(source: ObjectStoreSource, around: Surroundings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "connect_timeout": 10.0,
        "request_timeout": 60.0,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=5),
    }
    if source.credentials_secret_ref is None:
        options["anonymous"] = True
    else:
        found = {name: _credential(around, name) for name in _KEYS}
        for name in _KEYS[:2]:
            if not found[name]:
                raise SourceError(
                    f"the Secret {source.credentials_secret_ref.name} has no key {name}: it must hold"
                    f" {_KEYS[0]} and {_KEYS[1]}, and may hold {_KEYS[2]}"
                )
        options |= {"access_key": found[_KEYS[0]], "secret_key": found[_KEYS[1]]}
        options |= {"session_token": found[_KEYS[2]]} if found[_KEYS[2]] else {}
    if source.region is not None or source.endpoint is not None:
        options["region"] = source.region or "us-east-1"
    if source.endpoint is not None:
        parts = urlsplit(source.endpoint)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if around.ca_bundle is not None:
        options["tls_ca_file_path"] = str(around.ca_bundle)
    return options


def _credential(around: Surroundings, name: str) -> str:
    path = around.credentials / name if around.credentials is not None else None
    return path.read_text().strip() if path is not None and path.is_file() else ""


@contextmanager
def _told(source: ObjectStoreSource) -> Iterator[None]:
    """What an object store says is cut short: it may repeat names, never keys."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"{source.uri}: {_short(error)}") from None
    except PermissionError as error:
        raise SourceError(f"{source.uri}: access is denied: {_short(error)}") from None
    except (OSError, pa.ArrowException) as error:
        text = _short(error)
        if "ACCESS_DENIED" in text or "INVALID_ACCESS_KEY" in text or "SIGNATURE" in text.upper():
            raise SourceError(f"{source.uri}: access is denied: {text}") from None
        raise SourceAwayError(f"{source.uri}: {text}") from None


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _check_size(name: str, size: int, around: Surroundings) -> None:
    if size > around.most_bytes:
        raise SourceError(f"{name} has more than {around.most_bytes} bytes: split it into several files")


def _check_number(files: int) -> None:
    if files > MOST_FILES:
        raise SourceError(f"the source holds {files} files, more than {MOST_FILES}: write larger ones")
