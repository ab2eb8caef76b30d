from collections.abc import Iterator
from pathlib import Path

import pytest
from query_rooms import QueryRooms, open_query_rooms


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[QueryRooms]:
    yield from open_query_rooms(tmp_path)
