"""A window is spelled alike by every command that asks about one, and sent by the names of the API."""

from typing import Any

import pytest
from scripted_cell import Answer, Asked, ScriptedCell

from modelwarden.client import cli
from modelwarden.client.arguments import parser
from modelwarden.client.windows import WINDOW, given

COMMANDS = ["performance", "fairness", "anomalies", "importance"]
MARCH = {"start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"}
OPTIONS = ["--start", MARCH["start"], "--end", MARCH["end"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_given_is_sent_and_nothing_else(command: str) -> None:
    assert given(parser().parse_args([command, *OPTIONS]), WINDOW) == MARCH
    assert given(parser().parse_args([command, "--batch", "jan"]), WINDOW) == {"batch_id": "jan"}
    assert given(parser().parse_args([command]), WINDOW) == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_cell_is_asked_for_the_window(scripted: ScriptedCell, command: str) -> None:
    asked: list[Asked] = []

    def script(what: Asked, _n: int) -> Answer:
        asked.append(what)
        told: dict[str, Any] = {"error": "enough"}
        return Answer(404, told)

    scripted.script = script
    key = ["--url", scripted.url, "--key", "secret", "--model-id", "some"]
    assert cli.main([command, *OPTIONS, *key]) == 1
    (one,) = asked
    assert {name: one.query[name] for name in MARCH} == {name: [value] for name, value in MARCH.items()}
    assert "batch_id" not in one.query
