"""The scripted cell as a fixture: started and stopped with each test that names it."""

from collections.abc import Iterator
from functools import cache

import pytest
from scripted_cell import ScriptedCell

from modelwarden.client import cli


@pytest.fixture(scope="session", autouse=True)
def one_parser() -> Iterator[None]:
    """A process makes its parser of arguments once; so does this one, for all commands that it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "parser", cache(cli.parser))
        yield


@pytest.fixture
def scripted() -> Iterator[ScriptedCell]:
    cell = ScriptedCell()
    yield cell
    cell.stop()
