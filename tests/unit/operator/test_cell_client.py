"""The operator's side of a cell's HTTP: whatever a cell does, the answer is a value and the wait bounded."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from stub_cells import StubCell, StubCells

from modelwarden.cells import HttpCells
from modelwarden.reconcile.ports import DatasetWish, Key, Refusal, Silence
from modelwarden.resources.report import ReferenceReport, StatusReport

KEY = Key("shop", "census")


@pytest.fixture
async def cells() -> AsyncIterator[tuple[StubCells, HttpCells]]:
    with StubCells() as stubs:
        stubs.cells["shop", "census"] = StubCell("secret", "an-id")

        def endpoint(key: Key) -> str:
            return stubs.url_template.format(name=key.name, namespace=key.namespace)

        async with HttpCells(endpoint, 60) as client:
            yield stubs, client


async def test_a_status_is_read_with_the_cell_s_key(cells: Any) -> None:
    stubs, client = cells
    stubs.cells["shop", "census"].report = {"rows": {"acknowledged": 3}, "a field of a later version": 1}
    found = await client.status(KEY, "secret")
    assert isinstance(found, StatusReport)
    assert found.rows.acknowledged == 3


async def test_a_wrong_key_and_an_unknown_cell_are_told_apart(cells: Any) -> None:
    _, client = cells
    assert (await client.status(KEY, "wrong")).reason == "StoreRefusesKey"
    assert (await client.status(Key("shop", "nobody"), "x")).reason == "StoreUnreachable"


async def test_declaring_a_dataset_gives_its_entry_or_the_store_s_refusal(cells: Any) -> None:
    stubs, client = cells
    entry = await client.declare(KEY, "secret", "train", DatasetWish())
    assert isinstance(entry, ReferenceReport)
    assert entry.state == "open"
    refused = await client.declare(KEY, "secret", "train", DatasetWish(closed=True, total=9))
    assert isinstance(refused, Refusal)
    assert (refused.status, "9" in refused.message) == (409, True)
    assert stubs.cells["shop", "census"].declared[-1] == ("train", {"closed": True, "totalRecordCount": 9})


async def _serve(answer: Callable[[asyncio.StreamWriter], Any]) -> tuple[asyncio.Server, str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await answer(writer)
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_nobody_there_is_silence() -> None:
    async with HttpCells(lambda key: "http://127.0.0.1:9", 1) as client:  # noqa: ARG005
        found = await client.status(KEY, "x")
    assert isinstance(found, Silence)
    assert "127.0.0.1" not in found.message


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b"[" * 65536)
        await writer.drain()


async def _garbage(writer: asyncio.StreamWriter) -> None:
    body = json.dumps({"modelId": 7}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def _mute(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _rude(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0\r\n\r\n")


@pytest.mark.parametrize("answer", [_endless, _garbage, _mute, _rude])
async def test_a_cell_that_misbehaves_is_silence_within_the_time_limit(answer: Any) -> None:
    server, url = await _serve(answer)
    try:
        async with HttpCells(lambda key: url, 0.5) as client, asyncio.timeout(60):  # noqa: ARG005
            assert isinstance(await client.status(KEY, "x"), Silence)
    finally:
        server.close()
