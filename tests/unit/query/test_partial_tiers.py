"""Files of partials are joined by tiers: a long history is not written anew each time."""

import numpy as np
import pyarrow.parquet as pq

from modelwarden_server.store.partials import PartialTable, Reached


def rows(slices: int, first: int = 0):
    at = np.repeat(np.arange(first, first + slices), 10)
    return at, np.tile(np.arange(10), slices), np.ones(len(at), dtype=np.int64)


def merged(table: PartialTable, files) -> None:
    parts = list(table.between(-(2**31), 2**31, files))
    joined = [np.concatenate([part[i] for part in parts]) for i in range(3)]
    order = np.lexsort((joined[1], joined[0]))
    table.merge(files, iter([tuple(column[order] for column in joined)]))


def test_a_long_history_stays_while_small_files_are_joined(tmp_path):
    table = PartialTable.open(tmp_path, "p" * 64)
    table.append([rows(20_000)], Reached(0))
    (history,) = table.table.files
    written = 0
    for version in range(1, 41):
        table.append([rows(3, version)], Reached(version))
        while files := table.to_merge(8):
            assert history not in files
            written += sum(file.rows for file in files)
            merged(table, files)
        assert table.files <= 9
    assert written < 40 * 30 * 6
    assert history in table.table.files
    assert table.folded == 40
    assert sum(int(counts.sum()) for _, _, counts in table.read()) == 200_000 + 40 * 30
    again = PartialTable.open(tmp_path, "p" * 64)
    assert (again.folded, again.files) == (40, table.files)
    named = {file.name for file in again.table.files}
    assert {path.name for path in again.table.folder.glob("*.parquet")} == named
    assert sum(pq.read_metadata(again.table.folder / name).num_rows for name in named) == again.table.rows
