"""One daemon per object: a loop of {reconcile; rest until woken or due}, from first sight until it is gone.

kopf's own daemons are not used: they put a second finalizer on the user's object and are never started for
one that is already being deleted, so that life and death would need two machineries. Here deletion is just
another wake-up of the same loop. Knows nothing of kopf, of kinds or of what a reconcile does.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelwarden.errors import Bug, ReconcileError, Transient
from modelwarden.reconcile.outcome import Outcome, Pace
from modelwarden.reconcile.ports import Key, Kind, Manifest

_log = logging.getLogger("modelwarden.reconcile")

# Bursts of events (a rollout) make one reconcile, not ten.
_COALESCE = 0.05
# Far above the sum of the time limits of its requests: what takes longer hangs.
_RECONCILE_LIMIT = 180.0


@dataclass
class Visit:
    """One call of a reconcile: which object, whether to read the cluster afresh, and what was kept."""

    key: Key
    uid: str
    fresh: bool
    memory: dict[str, Any]


class Reconciler(Protocol):
    """The reconcile of one kind. Raises only `ReconcileError` when it could not even report."""

    async def __call__(self, visit: Visit) -> Outcome: ...


class Watcher(Protocol):
    """Whom the daemons tell how it went."""

    def reconciled(self, kind: str, outcome: Outcome, seconds: float, lag: float | None) -> None: ...
    def conditions_changed(
        self, kind: str, before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]
    ) -> None: ...


@dataclass
class _Daemon:
    kind: Kind
    key: Key
    uid: str
    signature: object
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    woken_at: float | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    conditions: tuple[tuple[str, str], ...] = ()
    failures: int = 0
    task: asyncio.Task[None] | None = None


def signature_of(live: Manifest) -> object:
    """What of an object, when it changes, is a reason to look: everything but its status."""
    meta = live["metadata"]
    return (
        meta.get("generation"),
        meta.get("deletionTimestamp"),
        tuple(meta.get("finalizers") or ()),
        tuple(sorted((meta.get("annotations") or {}).items())),
    )


class Daemons:
    """All daemons of this process. `saw` and `wake` may be called at any time from the event loop."""

    def __init__(
        self,
        reconcilers: Mapping[Kind, Reconciler],
        pace: Pace,
        concurrency: int,
        monotonic: Callable[[], float],
        watcher: Watcher,
    ) -> None:
        self._reconcilers = reconcilers
        self._pace = pace
        self._slots = asyncio.Semaphore(concurrency)
        self._monotonic = monotonic
        self._watcher = watcher
        self._daemons: dict[str, _Daemon] = {}
        self._uids: dict[tuple[Kind, Key], str] = {}

    def saw(self, kind: Kind, live: Manifest) -> None:
        """An object of a kind of ours was listed, or an event came for it."""
        meta = live["metadata"]
        signature = signature_of(live)
        daemon = self._daemons.get(meta["uid"])
        if daemon is None:
            self._start(_Daemon(kind, Key(meta["namespace"], meta["name"]), meta["uid"], signature))
        elif daemon.signature != signature:
            daemon.signature = signature
            self._wake(daemon)

    def lost(self, uid: str) -> None:
        """The object is said to be gone: its daemon looks, and ends if it is so."""
        if daemon := self._daemons.get(uid):
            self._wake(daemon)

    def wake(self, kind: Kind, key: Key) -> None:
        """Something that this object depends on, or owns, has changed. Unknown objects are ignored."""
        if daemon := self._daemons.get(self._uids.get((kind, key), "")):
            self._wake(daemon)

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        """The objects of a kind that have a daemon."""
        return tuple(key for (of, key) in self._uids if of == kind)

    def oldest_wait(self) -> float:
        """Seconds that the longest waiting wake-up has not been served; 0 with none waiting."""
        waits = [d.woken_at for d in self._daemons.values() if d.woken_at is not None]
        return self._monotonic() - min(waits) if waits else 0.0

    async def stop(self) -> None:
        """Cancel all daemons and wait for them."""
        tasks = [daemon.task for daemon in self._daemons.values() if daemon.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, daemon: _Daemon) -> None:
        self._daemons[daemon.uid] = daemon
        self._uids[(daemon.kind, daemon.key)] = daemon.uid
        self._wake(daemon)
        name = f"{daemon.kind.kind} {daemon.key.namespace}/{daemon.key.name}"
        daemon.task = asyncio.create_task(self._run(daemon), name=name)

    def _wake(self, daemon: _Daemon) -> None:
        if daemon.woken_at is None:
            daemon.woken_at = self._monotonic()
        daemon.woken.set()

    async def _run(self, daemon: _Daemon) -> None:
        try:
            next_full, settled = self._monotonic(), False
            while True:
                fresh = daemon.woken.is_set() or not settled or self._monotonic() >= next_full
                lag, daemon.woken_at = daemon.woken_at, None
                daemon.woken.clear()
                async with self._slots:
                    outcome = await self._reconcile(daemon, fresh, lag)
                if outcome.gone:
                    return
                settled = outcome.is_settled
                if fresh:
                    next_full = self._monotonic() + self._pace.rest(Outcome(), 0)
                await self._rest(daemon, self._pace.rest(outcome, daemon.failures))
        finally:
            self._forget(daemon)

    async def _rest(self, daemon: _Daemon, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await daemon.woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_COALESCE)

    async def _reconcile(self, daemon: _Daemon, fresh: bool, woken_at: float | None) -> Outcome:
        started = self._monotonic()
        visit = Visit(daemon.key, daemon.uid, fresh, daemon.memory)
        outcome = await self._guarded(daemon, visit)
        daemon.failures = daemon.failures + 1 if outcome.trouble else 0
        if outcome.conditions:
            self._watcher.conditions_changed(daemon.kind.kind, daemon.conditions, outcome.conditions)
            daemon.conditions = outcome.conditions
        lag = started - woken_at if woken_at is not None else None
        self._watcher.reconciled(daemon.kind.kind, outcome, self._monotonic() - started, lag)
        if outcome.trouble is not None:
            extra = _fields(daemon) | {"reason": outcome.trouble.reason, "failures": daemon.failures}
            level = logging.DEBUG if outcome.result == "Conflict" else logging.WARNING
            _log.log(level, "%s", outcome.trouble.message, extra=extra)
        return outcome

    async def _guarded(self, daemon: _Daemon, visit: Visit) -> Outcome:
        """The loop's edge: whatever goes wrong becomes an outcome, so that no object is ever abandoned."""
        try:
            async with asyncio.timeout(_RECONCILE_LIMIT):
                return await self._reconcilers[daemon.kind](visit)
        except ReconcileError as trouble:
            return Outcome(trouble=trouble)
        except TimeoutError:
            return Outcome(trouble=Transient("TimedOut", f"A reconcile took over {_RECONCILE_LIMIT:.0f} s"))
        except Exception:  # noqa: BLE001 - the loop's edge
            _log.exception("a reconcile failed in a way it never should", extra=_fields(daemon))
            return Outcome(trouble=Bug("The operator met an error of its own: see its log"))

    def _forget(self, daemon: _Daemon) -> None:
        self._watcher.conditions_changed(daemon.kind.kind, daemon.conditions, ())
        self._daemons.pop(daemon.uid, None)
        if self._uids.get((daemon.kind, daemon.key)) == daemon.uid:
            del self._uids[(daemon.kind, daemon.key)]


def _fields(daemon: _Daemon) -> dict[str, Any]:
    """The fields that every log line about an object carries."""
    key = daemon.key
    return {"kind": daemon.kind.kind, "namespace": key.namespace, "object": key.name, "uid": daemon.uid}
