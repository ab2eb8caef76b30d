"""One cell in one process: what it is, what it has, how far it has come. Here, and only here, rooms meet.

A room (the door for rows, the reference sets, the answers …) is built with the cell and gives its routes, a
listener for commits and its part of the status. The order of a start: `start` returns at once; a thread
takes the volume's lock, recovers the store, attaches the rooms, starts the writer; then the phase is Ready.
Must not know any route.
"""

import enum
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from starlette.routing import BaseRoute

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.log.protocol import LogDamagedError
from modelwarden_server.metrics import Metrics
from modelwarden_server.schema.compiled import CompiledSchema, compile_schema
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.lock import VolumeHeldError, VolumeLock, take_lock
from modelwarden_server.store.store import Store
from modelwarden_server.store.verify import TableDamagedError
from modelwarden_server.store.writer import DEFAULT_PACE, Pace
from modelwarden_server.web import Refusal

log = logging.getLogger(__name__)
LOCK_RETRY_SECONDS = 1.0


class Phase(enum.StrEnum):
    """How far a cell has come."""

    RECOVERING = "Recovering"
    READY = "Ready"
    DRAINING = "Draining"
    FAILED = "Failed"


class Room(Protocol):
    """A part of a cell's process."""

    def routes(self) -> Sequence[BaseRoute]:
        """Its routes. They may be called in any phase: `cell.store` refuses (503) until there is one."""
        ...

    def attach(self, store: Store) -> CommitListener | None:
        """The store is recovered, nothing is committed yet. Called once, in the recovery's thread.

        May take its time (the cell is Recovering until all rooms are attached). What it raises makes the
        cell Failed with that reason.
        """
        ...

    def status(self) -> dict[str, Any]:
        """Fields of StatusReport that this room knows. Quick, thread-safe, valid in any phase."""
        ...

    def close(self) -> None:
        """The process ends: stop threads, release files. The writer has made its last pass."""
        ...


@dataclass
class Cell:
    """See the module's text. Attributes are set once; `phase` and `reason` change."""

    identity: CellIdentity
    settings: SettingsHolder
    folder: Path
    pace: Pace = DEFAULT_PACE
    clock: Callable[[], float] = time.time
    metrics: Metrics = field(default_factory=Metrics)
    rooms: list[Room] = field(default_factory=list)
    phase: Phase = Phase.RECOVERING
    reason: str | None = None
    unhealthy: str | None = None

    def __post_init__(self) -> None:
        self.schema: CompiledSchema = compile_schema(self.identity)
        self.started_at = datetime.fromtimestamp(self.clock(), UTC)
        self._store: Store | None = None
        self._lock: VolumeLock | None = None
        self._stopping = threading.Event()
        self._recovery = threading.Thread(target=self._recover, name="recovery", daemon=True)

    @property
    def store(self) -> Store:
        """The recovered store. Raises Refusal (503) as long as there is none."""
        store = self._store
        if store is None:
            raise Refusal(503, self.unready() or "the cell is starting", retry_after=2)
        return store

    @property
    def has_store(self) -> bool:
        """Whether `store` can be asked for."""
        return self._store is not None

    def start(self) -> None:
        """Begin to recover."""
        self._recovery.start()

    def unready(self) -> str | None:
        """Why the cell takes in no rows, as a sentence; None if it does."""
        if self.phase is Phase.READY and self._store is not None:
            store = self._store
            failure = (
                store.log.failure or store.writer.failure or store.maintenance.failure or store.ids.failure
            )
            if failure is None:
                return None
            self.fail(failure, restart_helps=True)
        return f"{self.phase}: {self.reason}" if self.reason else str(self.phase)

    def fail(self, reason: str, *, restart_helps: bool = False) -> None:
        """Take in nothing from here on. With `restart_helps`, /healthz fails too: someone will restart it."""
        self.phase, self.reason = Phase.FAILED, reason
        if restart_helps:
            self.unhealthy = reason

    def drain(self) -> None:
        """Take in nothing from here on, because the process is to end."""
        self._stopping.set()
        if self.phase is not Phase.FAILED:
            self.phase, self.reason = Phase.DRAINING, "the process is ending"

    def close(self, timeout: float) -> bool:
        """Bring what waits into the tables and release the volume; False if rows stay in the log."""
        self._stopping.set()
        if self._recovery.is_alive():
            self._recovery.join(timeout)
        done = True
        if self._store is not None:
            done = self._store.close(timeout)
        for room in self.rooms:
            room.close()
        if self._lock is not None and not self._recovery.is_alive():
            self._lock.release()
        return done

    def _recover(self) -> None:
        try:
            if not self._take_volume():
                return
            store = Store.open(self.folder, self.schema, self.pace, self._progress, self.clock)
            self._attach(store)
        except (TableDamagedError, LogDamagedError, OSError, ValueError) as error:
            log.critical("the cell cannot serve: %s", error)
            self.fail(str(error))
        except BaseException as error:  # the edge of the thread; deltalake's panics are no Exception
            log.exception("recovery failed")
            self.fail(f"recovery failed: {type(error).__name__}", restart_helps=True)

    def _take_volume(self) -> bool:
        """Wait for the volume's lock; False if the process is to end before it is free."""
        while not self._stopping.is_set():
            try:
                self._lock = take_lock(self.folder)
            except VolumeHeldError as error:
                if self.reason != str(error):
                    log.warning("%s", error)
                self.reason = str(error)
                self._stopping.wait(LOCK_RETRY_SECONDS)
            else:
                return True
        return False

    def _attach(self, store: Store) -> None:
        for room in self.rooms:
            listener = room.attach(store)
            if listener is not None:
                store.writer.listen(listener)
        store.writer.observe(self.metrics.committed)
        store.start()
        self._store = store
        if not self._stopping.is_set():
            self.phase, self.reason = Phase.READY, None
        log.info("ready: %d rows stored", store.ledger.totals.stored)

    def _progress(self, what: str) -> None:
        self.reason = what
