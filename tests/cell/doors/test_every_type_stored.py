"""A row with a value of every type goes through the door, the log and the table, and is known again."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import row_shapes as shapes
from file_doors import FileDoor, open_file_door, parquet

from modelwarden.resources.attributes import Sensitivity
from modelwarden_server.local import _example
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.schema.sensitive import protect

SECRET = "classified-b5f1"
SAMPLE: dict[str, Any] = {
    "joined": "2020-01-01T00:00:00+00:00",
    "note": f"note {SECRET}",
    "picture": f"{SECRET}.png",
    "labels": ["x", SECRET],
    "words": [SECRET],
    "chances": [{SECRET: 0.75, "b": 0.25}],
    "ranking": [{"item_id": SECRET, "score": 0.5}],
    "boxes": [[1, 0.5, 1, 2, 3, 4], [0, 0.25, 0, 0, 1, 1]],
    "series": [{"timestamp": "2026-01-01T00:00:00Z", "value": 1.0}, {"timestamp": "2026-01-02T00:00:00Z"}],
}


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def post(door: FileDoor, *rows: Any) -> list[int]:
    answer = await door.client.post(f"{door.model}/inferences", content=json.dumps(rows).encode())
    assert answer.status_code == 207, answer.text
    return [result["status"] for result in answer.json()["results"]]


async def test_a_row_of_every_type_is_stored_and_known_after_a_restart(tmp_path: Path) -> None:
    row = shapes.row("a", **SAMPLE)
    async with open_file_door(tmp_path, attributes=shapes.ATTRIBUTES) as door:
        assert await post(door, row) == [200]
        (stored,) = door.stored()
    assert (stored["labels"], stored["words"]) == (["x", SECRET], [SECRET])
    assert stored["chances"] == [[{"token": SECRET, "likelihood": 0.75}, {"token": "b", "likelihood": 0.25}]]
    assert stored["ranking"] == [{"item_id": SECRET, "label": None, "score": 0.5}]
    assert [(box["class_id"], box["height"]) for box in stored["boxes"]] == [(1, 4.0), (0, 1.0)]
    assert [(p["timestamp"].day, p["value"]) for p in stored["series"]] == [(1, 1.0), (2, None)]
    async with open_file_door(tmp_path, attributes=shapes.ATTRIBUTES) as door:
        other = shapes.row("a", **(SAMPLE | {"chances": [{SECRET: 0.7, "b": 0.3}]}))
        assert await post(door, row, other) == [200, 409]
        row["inference_data"]["chances"] = [{"b": 0.25, SECRET: 0.75}]
        assert await post(door, row) == [200]
        assert len(door.stored()) == 1


async def test_the_same_row_in_a_file_is_the_same_row(tmp_path: Path) -> None:
    row = shapes.row("a", **(SAMPLE | {"picture": None}))
    async with open_file_door(tmp_path, attributes=shapes.ATTRIBUTES) as door:
        assert await post(door, row) == [200]
        content = parquet(pa.Table.from_batches([shapes.as_file([row])]))
        assert await door.taken(content) == (1, 0, [])
        assert len(door.stored()) == 1


@pytest.mark.parametrize("rule", ["mask", "drop"])
async def test_values_of_any_type_can_be_kept_from_the_disk(tmp_path: Path, rule: str) -> None:
    attributes = [a | ({"sensitivity": rule} if a["name"] in SAMPLE else {}) for a in shapes.ATTRIBUTES]
    async with open_file_door(tmp_path, attributes=attributes) as door:
        refused = shapes.row("b", **(SAMPLE | {"boxes": [[1]]}))
        assert await post(door, shapes.row("a", **SAMPLE), refused) == [200, 400]
        (stored,) = door.stored()
        assert {name: stored[name] for name in SAMPLE} == dict.fromkeys(SAMPLE)
        assert (stored["age"], stored["state"]) == (41, "MA")
    on_disk = files_of(tmp_path)
    assert [path for path in on_disk if SECRET.encode() in path.read_bytes()] == []


def test_a_hidden_column_keeps_its_type() -> None:
    schema = compile_schema(shapes.census.identity(shapes.ATTRIBUTES)).inference_record
    batch = pa.RecordBatch.from_pylist([{}], schema=schema)
    hidden = protect(batch, dict.fromkeys(SAMPLE, Sensitivity.MASK), b"k" * 32)
    assert hidden.schema == schema


async def test_the_example_that_a_newcomer_is_shown_is_taken(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, attributes=shapes.ATTRIBUTES) as door:
        columns = door.cell.schema.data
        example = {column.name: _example(column.value_type, "a") for column in columns}
        row = shapes.row("a") | {"inference_data": example}
        assert await post(door, row) == [200]
