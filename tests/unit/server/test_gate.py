"""The gate bounds requests and bytes, keeps the order of coming, and forgets nobody who goes away."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from modelwarden_server.door import gate as module
from modelwarden_server.door.gate import Gate
from modelwarden_server.web import Refusal

MIB = 1 << 20


async def inside(
    gate: Gate, stack: AsyncExitStack, size: int, most: int = 10, largest: int = 64 * MIB
) -> None:
    await stack.enter_async_context(gate.admit(size, most, largest))


async def test_bodies_in_hand_are_bounded_together() -> None:
    gate = Gate(hold_seconds=0.02)
    async with AsyncExitStack() as stack:
        await inside(gate, stack, 40 * MIB)
        await inside(gate, stack, 20 * MIB)
        with pytest.raises(Refusal):
            await inside(gate, stack, 20 * MIB)
        await inside(gate, stack, 4 * MIB)
    assert (gate.inside, gate.waiting) == (0, 0)


async def test_one_body_larger_than_all_others_together_is_let_in_alone() -> None:
    gate = Gate(hold_seconds=0.02)
    async with AsyncExitStack() as stack:
        await inside(gate, stack, 2 * module.BODY_BYTES, largest=2 * module.BODY_BYTES)
        await_small = gate.admit(1, 10, 2 * module.BODY_BYTES)
        with pytest.raises(Refusal):
            await stack.enter_async_context(await_small)


async def test_who_came_first_is_let_in_first() -> None:
    gate = Gate()
    order: list[int] = []

    async def come(number: int) -> None:
        async with gate.admit(1, 1, MIB):
            order.append(number)

    async with gate.admit(1, 1, MIB):
        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(come(number)))
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_who_goes_away_while_waiting_leaves_no_trace() -> None:
    gate = Gate()
    async with AsyncExitStack() as stack:
        await inside(gate, stack, 1, most=1)
        waiting = asyncio.create_task(inside(gate, stack, 1, most=1))
        await asyncio.sleep(0)
        assert gate.waiting == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert gate.waiting == 0
    assert gate.inside == 0


async def test_a_turn_that_comes_to_someone_who_is_leaving_goes_to_the_next() -> None:
    gate = Gate()
    async with AsyncExitStack() as second:
        async with AsyncExitStack() as first:
            await inside(gate, first, 1, most=1)
            leaving = asyncio.create_task(inside(gate, second, 1, most=1))
            staying = asyncio.create_task(inside(gate, second, 1, most=1))
            await asyncio.sleep(0)
        # The turn has come to `leaving`, which does not know it yet.
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await asyncio.wait_for(staying, 60)
        assert gate.inside == 1
    assert gate.inside == 0


async def test_a_place_that_gets_free_while_someone_is_giving_up_goes_to_the_next() -> None:
    gate = Gate()
    async with AsyncExitStack() as second:
        async with AsyncExitStack() as first:
            await inside(gate, first, 1, most=1)
            leaving = asyncio.create_task(inside(gate, second, 1, most=1))
            staying = asyncio.create_task(inside(gate, second, 1, most=1))
            await asyncio.sleep(0)
            leaving.cancel()
            # It has given up, but has not run since: it still stands in the queue.
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await asyncio.wait_for(staying, 60)
        assert (gate.inside, gate.waiting) == (1, 0)
    assert gate.inside == 0
