"""The scripted cell as a fixture: started and stopped with each test that names it."""

from collections.abc import Iterator

import pytest
from scripted_cell import ScriptedCell


@pytest.fixture
def scripted() -> Iterator[ScriptedCell]:
    cell = ScriptedCell()
    yield cell
    cell.stop()
