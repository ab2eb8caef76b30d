"""The lease: one holder, taken over only when it has run out by our own clock, given back on a clean end."""

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from modelwarden.cluster.lease import Clocks, Lease, Lost
from modelwarden.errors import Conflict, Transient
from modelwarden.reconcile.ports import Key, Kind, Manifest

KEY = Key("mw", "modelwarden-operator")


class Shelf:
    """One object with versions, as the API server keeps it; may fail on demand."""

    def __init__(self) -> None:
        self.live: Manifest | None = None
        self.failing: Callable[[], None] = lambda: None
        self.version = 0

    async def get(self, kind: Kind, key: Key) -> Manifest | None:
        self.failing()
        return copy.deepcopy(self.live)

    async def create(self, manifest: Manifest) -> Manifest:
        self.failing()
        if self.live is not None:
            raise Conflict("exists")
        return self._store(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        self.failing()
        assert self.live is not None
        if manifest["metadata"]["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        return self._store(manifest)

    def _store(self, manifest: Manifest) -> Manifest:
        self.version += 1
        self.live = copy.deepcopy(manifest)
        self.live["metadata"]["resourceVersion"] = str(self.version)
        return self.live


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def clocks(self, skew: float = 0.0) -> Clocks:
        return Clocks(lambda: self.seconds, lambda: datetime.fromtimestamp(self.seconds + skew, UTC))


def lease(shelf: Any, who: str, clocks: Clocks, duration: float = 15.0) -> Lease:
    return Lease(shelf, KEY, who, duration, clocks)


async def test_the_first_takes_it_and_the_second_does_not() -> None:
    shelf, time = Shelf(), Time()
    first, second = lease(shelf, "a", time.clocks()), lease(shelf, "b", time.clocks())
    assert await first._try()
    assert not await second._try()
    assert shelf.live is not None
    assert shelf.live["spec"]["holderIdentity"] == "a"


async def test_it_is_taken_over_when_it_was_not_renewed_for_its_whole_time() -> None:
    shelf, time = Shelf(), Time()
    first, second = lease(shelf, "a", time.clocks()), lease(shelf, "b", time.clocks(skew=-3600))
    assert await first._try()
    assert not await second._try()
    time.seconds = 14
    assert not await second._try()
    assert await first._try()  # renewed in time, by a clock that is an hour ahead of the second's
    time.seconds = 28
    assert not await second._try()
    time.seconds = 44
    assert await second._try()
    assert not await first._try()


async def test_one_that_was_given_back_is_free_at_once() -> None:
    shelf, time = Shelf(), Time()
    first, second = lease(shelf, "a", time.clocks()), lease(shelf, "b", time.clocks())
    assert await first._try()
    await first.release()
    assert await second._try()
    await first.release()  # not ours any more: left alone
    assert shelf.live is not None
    assert shelf.live["spec"]["holderIdentity"] == "b"


async def test_the_same_holder_goes_on_after_a_restart_without_waiting() -> None:
    shelf, time = Shelf(), Time()
    assert await lease(shelf, "a", time.clocks())._try()
    assert await lease(shelf, "a", time.clocks())._try()


async def test_a_holder_that_cannot_renew_gives_up_before_another_may_take_over() -> None:
    shelf = Shelf()
    loop = asyncio.get_running_loop()
    mine = lease(shelf, "a", Clocks(loop.time, lambda: datetime.now(UTC)), duration=0.3)
    await mine.acquire()
    begun = loop.time()

    def fail() -> None:
        raise Transient("ApiServerUnreachable", "no")

    shelf.failing = fail
    with pytest.raises(Lost):
        async with asyncio.timeout(60):
            await mine.keep()
    assert loop.time() - begun >= 0.15


async def test_a_renewal_that_hangs_does_not_outlive_the_lease() -> None:
    shelf = Shelf()
    loop = asyncio.get_running_loop()
    mine = lease(shelf, "a", Clocks(loop.time, lambda: datetime.now(UTC)), duration=0.3)
    await mine.acquire()

    class Hanging(Shelf):
        async def get(self, kind: Kind, key: Key) -> Manifest | None:
            await asyncio.Event().wait()
            return None

    mine._store = Hanging()
    with pytest.raises(Lost):
        async with asyncio.timeout(60):
            await mine.keep()


async def test_a_holder_that_was_robbed_notices() -> None:
    shelf = Shelf()
    mine = lease(shelf, "a", Time().clocks(), duration=0.3)
    await mine.acquire()
    assert shelf.live is not None
    shelf.live["spec"]["holderIdentity"] = "thief"
    with pytest.raises(Lost, match="Another"):
        async with asyncio.timeout(60):
            await mine.keep()
