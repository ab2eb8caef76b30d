"""DuckDB, held on a short leash: no files, no settings, no extensions, bounded memory and time.

What it gets is a statement of ours, values, and readers of Arrow batches; what it gives are plain rows. It is
imported with the first question: a store that is not asked does not pay for it.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline, QueryTooLargeError

if TYPE_CHECKING:
    import duckdb

_ROWS_AT_ONCE = 256
TOO_LONG = "the query takes too long: narrow the filter, or ask for fewer columns"
TOO_LARGE = "the query needs more memory than one may take: narrow the filter, group by less, or set a sample"


@dataclass(frozen=True)
class EngineLimits:
    """Bytes of memory and of temporary files for all questions together; rows and bytes of one answer."""

    memory: int = 128 << 20
    temporary: int = 1 << 30
    threads: int = 1
    rows: int = 100_000
    answer: int = 64 << 20


DEFAULT_LIMITS = EngineLimits()
Encode = Callable[[tuple[Any, ...]], bytes]


class Readable(Protocol):
    """Rows that DuckDB reads, maybe more than once. `failed` keeps why reading ended early, if it did."""

    failed: Exception | None

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True)
class Found:
    """Rows of an answer as they are sent; `more` says that there would be others."""

    rows: list[bytes]
    more: bool


class Engine:
    """One for a process. Questions may come from several threads; they share the memory."""

    def __init__(self, limits: EngineLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._root: duckdb.DuckDBPyConnection | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def run(
        self,
        sql: str,
        values: Sequence[object],
        tables: Mapping[str, Readable],
        deadline: Deadline,
        encode: Encode,
    ) -> Found:
        """Run one statement; `encode` makes bytes of a row.

        Raises QueryError, QueryTooLargeError, or what reading a table raised.
        """
        import duckdb

        with self._connection() as connection, _interrupted(connection, deadline) as late:
            try:
                for name, table in tables.items():
                    connection.register(name, table)
                connection.execute(sql, list(values))
                return _fetched(connection, encode, self.limits)
            except duckdb.Error as error:
                for table in tables.values():
                    if table.failed is not None:
                        raise table.failed from None
                if late.is_set():
                    raise QueryTooLargeError(TOO_LONG) from None
                if isinstance(error, duckdb.InternalException | duckdb.FatalException):
                    self.close()  # what it is in now is not to be trusted: the next question gets a new one
                raise _told(error) from error

    def close(self) -> None:
        """Release memory and temporary files. The next question opens it again."""
        with self._lock:
            root, self._root = self._root, None
            folder, self._folder = self._folder, None
        if root is not None:
            root.close()
        if folder is not None:
            folder.cleanup()

    @contextmanager
    def _connection(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        with self._lock:
            if self._root is None:
                self._folder = tempfile.TemporaryDirectory(prefix="modelwarden-query-")
                self._root = _opened(self._folder.name, self.limits)
            connection = self._root.cursor()
        try:
            yield connection
        finally:
            connection.close()


def _opened(folder: str, limits: EngineLimits) -> "duckdb.DuckDBPyConnection":
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{limits.memory}B",
            "threads": str(limits.threads),
            "temp_directory": folder,
            "max_temp_directory_size": f"{limits.temporary}B",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    # Last, and in this order: without access the temporary folder could not be named any more.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _told(error: "duckdb.Error") -> Exception:
    import duckdb

    match error:
        case duckdb.OutOfMemoryException():
            return QueryTooLargeError(TOO_LARGE)
        case duckdb.OutOfRangeException() | duckdb.ConversionException():
            # Its text holds values of rows.
            return QueryError("a result is outside of what a number can hold: calculate with smaller numbers")
        case _:
            return error


@contextmanager
def _interrupted(connection: "duckdb.DuckDBPyConnection", deadline: Deadline) -> Iterator[threading.Event]:
    """Stop the connection's work when the deadline has passed; the event tells that it has."""
    late, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(max(0.0, min(deadline.left, 1.0))):
            if deadline.left <= 0:
                late.set()
                connection.interrupt()
                done.wait(0.05)

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        done.set()
        watcher.join()


def _fetched(connection: "duckdb.DuckDBPyConnection", encode: Encode, limits: EngineLimits) -> Found:
    rows: list[bytes] = []
    size = 0
    while piece := connection.fetchmany(_ROWS_AT_ONCE):
        for row in piece:
            if len(rows) == limits.rows or size > limits.answer:
                return Found(rows, more=True)
            rows.append(encode(row))
            size += len(rows[-1])
    return Found(rows, more=False)
