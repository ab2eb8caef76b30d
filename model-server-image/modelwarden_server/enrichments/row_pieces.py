"""Rows as the bytes of an Arrow IPC stream, one batch at a time, so that never more than one is in memory.

Taken from one thread after the other; closed from any. Must not know where rows come from.
"""

import threading
from collections.abc import Generator

import pyarrow as pa

from modelwarden_server.enrichments.kind import RowSource


class _Sink:
    """A file that gives back what was written since it was last asked."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, content: bytes) -> int:
        """See io.RawIOBase."""
        self._parts.append(bytes(content))
        self._written += len(content)
        return len(content)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._written

    def flush(self) -> None:
        """Nothing to do."""

    def taken(self) -> bytes:
        """What was written since."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content


class Pieces:
    """The bytes of a stream of rows, piece by piece."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._pieces = self._written()

    def take(self) -> bytes:
        """The next piece; empty at the end, and after `close`."""
        with self._lock:
            return next(self._pieces, b"")

    def close(self) -> None:
        """Read no further, and let the source know. Waits for a piece that is being made."""
        with self._lock:
            self._pieces.close()

    def _written(self) -> Generator[bytes, None, None]:
        sink, batches = _Sink(), self._source.batches
        try:
            with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), self._source.schema) as writer:
                for batch in batches:  # the schema is written with the first of them, or at the end
                    writer.write_batch(batch)
                    if piece := sink.taken():
                        yield piece
            yield sink.taken()
        finally:
            if isinstance(batches, Generator):
                batches.close()
