"""One acting operator at a time: a coordination Lease, taken, renewed, and given back on a clean exit.

The library's elector is not used: its requests have no time limit, so that one hanging renewal outlives the
lease, and it never gives the lease back, which makes every restart wait for a whole lease. Whether another's
lease has run out is judged by our own clock since we last saw it change: two machines' clocks differ.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from modelwarden.errors import Conflict, ReconcileError
from modelwarden.reconcile.ports import LEASE, Key, Kind, Manifest

_log = logging.getLogger("modelwarden.lease")


class LeaseStore(Protocol):
    """The part of the cluster a lease needs."""

    async def get(self, kind: Kind, key: Key) -> Manifest | None: ...
    async def create(self, manifest: Manifest) -> Manifest: ...
    async def replace(self, manifest: Manifest) -> Manifest: ...


@dataclass(frozen=True)
class Clocks:
    """`monotonic` in seconds, `now` aware."""

    monotonic: Callable[[], float]
    now: Callable[[], datetime]


class Lost(Exception):  # noqa: N818 - a state, not a mistake
    """The lease is no longer ours: stop writing at once."""


class Lease:
    """`acquire()`, then run `keep()` beside the work: it raises `Lost`; at the end `release()`."""

    def __init__(self, store: LeaseStore, key: Key, identity: str, duration: float, clocks: Clocks) -> None:
        self._store = store
        self._key = key
        self._identity = identity
        self._duration = duration
        self._clocks = clocks
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = clocks.monotonic()

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while True:
            if await self._try():
                return
            await asyncio.sleep(self._duration / 5)

    async def keep(self) -> None:
        """Renew for ever; raises `Lost` when that did not succeed for two thirds of the lease."""
        renewed = self._clocks.monotonic()
        while True:
            await asyncio.sleep(self._duration / 5)
            left = renewed + self._duration * 2 / 3 - self._clocks.monotonic()
            if left <= 0:
                raise Lost(f"The lease could not be renewed for {self._duration * 2 / 3:.0f} s")
            try:
                async with asyncio.timeout(left):
                    held = await self._try()
            except TimeoutError:
                continue
            if held:
                renewed = self._clocks.monotonic()
            elif self._seen[0] not in ("", self._identity):
                raise Lost("Another operator holds the lease")

    async def release(self) -> None:
        """Give it back, so that the next operator need not wait; failing to is harmless."""
        try:
            live = await self._store.get(LEASE, self._key)
            if live and live["spec"].get("holderIdentity") == self._identity:
                live["spec"] |= {"holderIdentity": "", "renewTime": self._timestamp()}
                await self._store.replace(live)
        except ReconcileError as error:
            _log.info("the lease was not given back: %s", error)

    async def _try(self) -> bool:
        try:
            live = await self._store.get(LEASE, self._key)
            if live is None:
                await self._store.create(self._manifest())
                return True
            if not self._free(live):
                return False
            mine = live["spec"].get("holderIdentity") == self._identity
            spec = live["spec"] | {"holderIdentity": self._identity, "renewTime": self._timestamp()}
            spec |= {"leaseDurationSeconds": max(1, round(self._duration))}
            spec |= {} if mine else {"acquireTime": self._timestamp()}
            await self._store.replace(live | {"spec": spec})
        except Conflict:
            return False
        except ReconcileError as error:
            _log.warning("the lease could not be read or renewed: %s", error)
            return False
        self._seen = (self._identity, "")
        return True

    def _free(self, live: Manifest) -> bool:
        """Whether it is ours, nobody's, or unchanged for a whole lease by our own clock."""
        spec = live.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        if (seen := (holder, str(spec.get("renewTime")))) != self._seen:
            self._seen, self._seen_at = seen, self._clocks.monotonic()
            return False
        lasts = float(spec.get("leaseDurationSeconds") or self._duration)
        return self._clocks.monotonic() - self._seen_at > lasts

    def _manifest(self) -> Manifest:
        now = self._timestamp()
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": self._key.namespace, "name": self._key.name},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._duration)),
                "acquireTime": now,
                "renewTime": now,
            },
        }

    def _timestamp(self) -> str:
        return self._clocks.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
