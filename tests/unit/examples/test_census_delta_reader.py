"""The demo's witness counts what is really in a Delta table; the tables here are written by the Delta
library itself.
"""

from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from examples.census import delta_reader
from examples.census.delta_reader import TableCount


def ids(*names: str) -> pa.Table:
    return pa.table(
        {"partner_inference_id": pa.array(names, pa.string()), "x": pa.array(range(len(names)), pa.int64())}
    )


def test_appended_rows_are_counted_and_repeated_ids_seen(tmp_path: Path) -> None:
    deltalake.write_deltalake(tmp_path, ids("a", "b"))
    deltalake.write_deltalake(tmp_path, ids("b", "c", "d"), mode="append")
    assert delta_reader.count(tmp_path) == TableCount(version=1, rows=5, distinct_ids=4)


def test_files_that_were_removed_are_not_counted(tmp_path: Path) -> None:
    deltalake.write_deltalake(tmp_path, ids("a", "b"))
    deltalake.write_deltalake(tmp_path, ids("c"), mode="overwrite")
    assert delta_reader.count(tmp_path) == TableCount(version=1, rows=1, distinct_ids=1)


def test_a_compacted_and_checkpointed_table_counts_the_same(tmp_path: Path) -> None:
    for number in range(4):
        deltalake.write_deltalake(tmp_path, ids(f"id {number}"), mode="append")
    table = deltalake.DeltaTable(tmp_path)
    table.optimize.compact()
    table.create_checkpoint()
    before = delta_reader.count(tmp_path)
    assert (before.rows, before.distinct_ids) == (4, 4)
    deltalake.write_deltalake(tmp_path, ids("later"), mode="append")
    for number in range(before.version + 1):
        (tmp_path / "_delta_log" / f"{number:020}.json").unlink()  # what a clean-up of the log leaves
    assert delta_reader.count(tmp_path) == TableCount(before.version + 1, rows=5, distinct_ids=5)


@pytest.mark.parametrize(
    "names", [[], [""], ["a"] * 3, ["é", "%20", " "]], ids=["none", "empty", "same", "odd"]
)
def test_it_agrees_with_the_delta_library(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "a folder with spaces"
    for batch in (names, ["z"], names):
        deltalake.write_deltalake(folder, ids(*batch), mode="append")
    read = deltalake.DeltaTable(folder).to_pyarrow_table().column("partner_inference_id").to_pylist()
    counted = delta_reader.count(folder)
    assert (counted.rows, counted.distinct_ids) == (len(read), len(set(read)))


def test_a_folder_that_is_no_table_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="_delta_log"):
        delta_reader.count(tmp_path)
