"""Forgetting over HTTP: what is asked for is gone, is refused when it comes again, and leaves a record."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import census_like as census
import pytest
from file_doors import FileDoor, eventually, flat, open_file_door, parquet

from modelwarden_server.door.intake import FORGOTTEN


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FileDoor]:
    async with open_file_door(tmp_path) as opened:
        upkeep = opened.cell.store.maintenance
        upkeep.pace = replace(upkeep.pace, look=0.02, grace=0.0)
        yield opened


async def ask(door: FileDoor, status: int = 202, **body: Any) -> dict[str, Any]:
    answer = await door.client.post(f"{door.model}/forget", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def done(door: FileDoor, request: str) -> dict[str, Any]:
    """The audit record, once all is done."""
    await eventually(lambda: _all_done(door))
    found: dict[str, Any] = (await door.client.get(f"{door.model}/forget/{request}")).json()
    assert found["state"] == "done"
    return found


def _all_done(door: FileDoor) -> bool:
    (duty,) = door.cell.store.maintenance.duties
    return all(r.state == "done" for r in duty.requests.all())  # type: ignore[attr-defined]


def ids(door: FileDoor, table: str = "inferences") -> list[str]:
    return sorted(row["partner_inference_id"] for row in door.stored(table))


async def test_rows_are_forgotten_by_id_in_tables_and_refused_afterwards(door: FileDoor) -> None:
    assert await door.post(census.row("a", truth=1), census.row("b", truth=0), census.row("c")) == [200] * 3
    request = await ask(door, partner_inference_ids=["a", "never seen", "a"])
    assert (request["by"], request["ids"]) == ("ids", 2)
    audit = await done(door, request["id"])
    assert audit["removed"] == {"inferences": 1, "ground_truth": 1, "images": 0}
    assert any("backup" in text for text in audit["out_of_reach"])
    assert (ids(door), ids(door, "ground_truth")) == (["b", "c"], ["b"])
    answer = await door.client.post(f"{door.model}/inferences", content=census.body(census.row("a")))
    (result,) = answer.json()["results"]
    assert (result["status"], result["message"]) == (409, FORGOTTEN)
    assert await door.post(census.row("never seen")) == [409]
    assert await door.post(census.row("b", truth=0), census.row("new")) == [200, 200]
    report = await door.report()
    assert report.forget is not None
    assert report.maintenance is not None
    assert (report.forget.requests, report.forget.pending, report.maintenance.forgotten) == (1, 0, 1)
    rows = report.rows
    assert rows.acknowledged == rows.stored + rows.waiting + rows.sampled_out + rows.rejected_later


async def test_an_upload_with_a_forgotten_id_has_that_row_refused(door: FileDoor) -> None:
    await done(door, (await ask(door, partner_inference_ids=["a0"]))["id"])
    success, failure, failures = await door.taken(parquet(flat(2, "a")))
    assert (success, failure) == (1, 1)
    assert "forgotten" in failures[0]
    assert ids(door) == ["a1"]


async def test_rows_are_forgotten_by_the_value_of_an_attribute(door: FileDoor) -> None:
    rows = [census.row("a", state="NY"), census.row("b", state="MA"), census.row("c", state="NY", truth=1)]
    await door.post(*rows)
    audit = await done(door, (await ask(door, attribute="state", value="NY"))["id"])
    assert (audit["attribute"], audit["ids"], audit["removed"]["inferences"]) == ("state", 2, 2)
    assert "NY" not in str(audit)
    assert (ids(door), ids(door, "ground_truth")) == (["b"], [])
    assert await door.post(census.row("d", state="NY"), census.row("a", state="NY")) == [200, 409]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "partner_inference_ids"),
        ({"partner_inference_ids": []}, "partner_inference_ids"),
        ({"partner_inference_ids": ["a"], "attribute": "state", "value": "x"}, "partner_inference_ids"),
        ({"partner_inference_ids": "a"}, "partner_inference_ids"),
        ({"attribute": "height", "value": 1}, "attribute"),
        ({"attribute": "state"}, "value"),
        ({"attribute": "age", "value": "old"}, "value"),
    ],
)
async def test_a_request_that_cannot_be_understood_is_refused_by_field(
    door: FileDoor, body: dict[str, Any], names: str
) -> None:
    assert names in (await ask(door, 400, **body))["error"]
    assert (await door.client.get(f"{door.model}/forget")).json() == []


async def test_a_request_that_nobody_made_is_not_found(door: FileDoor) -> None:
    assert (await door.client.get(f"{door.model}/forget/abc")).status_code == 404
