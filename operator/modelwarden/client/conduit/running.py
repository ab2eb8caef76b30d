"""A bundle run on this machine: the server's own code for flows, in a process of its own.

What works here works in the cluster: the process has the bundle and nothing of the caller's. What this module
must not do: import the server; it is started as a program.
"""

import importlib.util
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from modelwarden.client.conduit.errors import ConduitError, FlowFailedError

RUNTIME = "modelwarden_server.modelserver.flow"
_SIZE = struct.Struct(">Q")


class LocalFlow:
    """A started process. `close` ends it."""

    def __init__(self, folder: Path) -> None:
        """Start it and wait until the flow is loaded. Raises ConduitError if it cannot be."""
        found = importlib.util.find_spec("modelwarden_server")
        if found is None or not found.submodule_search_locations:
            raise ConduitError("the runtime of flows is not installed: pip install 'modelwarden[server]'")
        package = Path(next(iter(found.submodule_search_locations))).parent
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", RUNTIME, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )
        header, _ = self._answer()
        if "error" in header:
            self.close()
            raise ConduitError(str(header["error"]))

    def run(self, data: Any, files: Sequence[tuple[str, bytes]]) -> list[Any]:
        """The results. Raises FlowFailedError."""
        try:
            content = json.dumps(data).encode()
        except (TypeError, ValueError) as error:
            raise FlowFailedError(
                f"the data must be plain JSON, as it is sent to the cluster: {error}"
            ) from None
        header = {"files": [{"name": name} for name, _ in files]}
        answer, found = self._ask(header, [content, *(content for _, content in files)])
        if "error" in answer:
            raise FlowFailedError(str(answer["error"]))
        results: list[Any] = json.loads(found[0])
        return results

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, header: dict[str, Any], buffers: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        assert self._process.stdin is not None
        head = json.dumps(header | {"sizes": [len(one) for one in buffers]}).encode()
        content = b"".join([_SIZE.pack(len(head)), head, *buffers])
        try:
            self._process.stdin.write(_SIZE.pack(len(content)) + content)
            self._process.stdin.flush()
        except OSError:
            raise ConduitError("the flow's process has ended: call load again") from None
        return self._answer()

    def _answer(self) -> tuple[dict[str, Any], list[bytes]]:
        content = io.BytesIO(self._read(_SIZE.unpack(self._read(_SIZE.size))[0]))
        header: dict[str, Any] = json.loads(content.read(_SIZE.unpack(content.read(_SIZE.size))[0]))
        return header, [content.read(size) for size in header["sizes"]]

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        found = self._process.stdout.read(size)
        if len(found) != size:
            raise ConduitError("the flow's process has ended: what it wrote says why")
        return found


def file_bytes(file: Any, number: int) -> tuple[str, bytes]:
    """A file of a request as the cluster gets it, name and bytes: a path, bytes, an opened binary file, or a
    Pillow image. Raises ConduitError."""
    if isinstance(file, str | Path):
        path = Path(file)
        return path.name, path.read_bytes()
    if isinstance(file, bytes | bytearray):
        return f"file-{number}", bytes(file)
    name = Path(str(getattr(file, "name", "") or getattr(file, "filename", "") or f"file-{number}")).name
    if hasattr(file, "save") and hasattr(file, "format"):
        out = io.BytesIO()
        file.save(out, file.format or "PNG")
        return name, out.getvalue()
    if hasattr(file, "read"):
        return name, _all_of(file)
    raise ConduitError(f"files must be opened as binary, not {type(file).__name__}")


def _all_of(file: IO[bytes]) -> bytes:
    if hasattr(file, "seek") and file.seekable():
        file.seek(0)
    content = file.read()
    if not isinstance(content, bytes):
        raise ConduitError("files must be opened as binary: open(path, 'rb')")
    return content
