from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from reference_rooms import ReferenceRooms, client_of, open_rooms


@pytest.fixture
def rooms(tmp_path: Path) -> ReferenceRooms:
    return open_rooms(tmp_path)


@pytest.fixture
async def client(rooms: ReferenceRooms) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(rooms) as client:
        yield client
