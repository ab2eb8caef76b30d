from collections.abc import Iterator
from pathlib import Path

import pytest
from query_rooms import QueryRooms, open_query_rooms

from modelwarden_server.query.sql.engine import Engine


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[QueryRooms]:
    yield from open_query_rooms(tmp_path)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.close()
