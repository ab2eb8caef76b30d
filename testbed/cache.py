"""Where built things are kept, by the hash of what they were built from, and who may touch them now.

Says nothing about what is kept. A folder is published by a rename, so a killed build leaves no half of one.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_folder() -> Path:
    """`$MODELWARDEN_CACHE`, else `modelwarden` in the user's cache folder."""
    if chosen := os.environ.get("MODELWARDEN_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "modelwarden"


def content_key(*parts: bytes | str | Path) -> str:
    """Sixteen hex digits that change when any part does; a Path stands for its name and content."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.name.encode() + b"\0" + part.read_bytes()
        elif isinstance(part, str):
            part = part.encode()
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; calls `waiting` once if somebody else holds it.

    The kernel lets go of it when the process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def built_once(
    folder: Path, build: Callable[[Path], None], waiting: Callable[[], None] | None = None
) -> Path:
    """`folder`, filled by `build` if it is not there yet. `build` gets an empty folder to fill."""
    if folder.is_dir():
        return folder
    with locked(folder.parent / f".{folder.name}.lock", waiting):
        if folder.is_dir():
            return folder
        for abandoned in folder.parent.glob(f".{folder.name}.part-*"):
            shutil.rmtree(abandoned)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
        try:
            build(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return folder


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` in one step: a reader sees the old text or the new one, never a part."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text)
    unfinished.chmod(mode)
    unfinished.rename(path)
