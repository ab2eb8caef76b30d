"""Rows of batches are counted once, whoever finds them first."""

import time
from pathlib import Path

import pyarrow as pa

from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, INSTANT
from modelwarden_server.store.batches import Batches
from modelwarden_server.store.delta import AppendTable

SCHEMA = pa.schema([(BATCH, pa.string()), (ARRIVAL_TIME, INSTANT)])


def rows(count: int) -> pa.RecordBatch:
    return pa.record_batch([["b"] * count, pa.array([1] * count, INSTANT)], schema=SCHEMA)


def test_a_version_is_counted_once_whether_the_writer_tells_of_it_before_or_after_it_was_found(
    tmp_path: Path,
) -> None:
    table = AppendTable.open(tmp_path / "table", SCHEMA)
    batches = Batches(tmp_path / "batches", table, time.time)
    first = table.append([rows(2)], {})
    batches.catch_up()
    batches.fold(first.version, [rows(2)])
    second = table.append([rows(3)], {})
    batches.fold(second.version, [rows(3)])
    batches.catch_up()
    assert batches.get("b").records == 5
