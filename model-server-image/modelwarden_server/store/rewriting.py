"""Files of a table written anew: several as one, or one without some of its rows. Bounded memory, one commit.

Must not decide which files or rows. The order of rows is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from modelwarden_server.store.delta import AppendTable, Commit, Replacement, TableFile
from modelwarden_server.store.parquet import ROWS_PER_GROUP

_GROUP_BYTES = 32 << 20
Keep = Callable[[pa.RecordBatch], pa.RecordBatch]


def merge_files(table: AppendTable, files: Sequence[TableFile]) -> Commit:
    """Put one file in the place of several adjacent ones: the same rows, no change to any reader.

    Raises what staging and `AppendTable.replace` raise; nothing has changed then.
    """
    new = table.stage(_grouped(table.read(files), table.schema), origin=files[-1].version)
    return table.replace(Replacement(files, [new], rows_change=False), {})


def rows_without(table: AppendTable, file: TableFile, keep: Keep) -> Replacement:
    """Stage the rows of a file that `keep` leaves, to be committed by the caller. Raises OSError."""
    kept = _grouped((keep(batch) for batch in table.read([file])), table.schema)
    return Replacement([file], [table.stage(kept, origin=file.version)], rows_change=True)


def _grouped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows in batches as large as a row group: parquet makes a group of every batch."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= ROWS_PER_GROUP or size >= _GROUP_BYTES:
            yield _joined(held, schema)
            held, rows, size = [], 0, 0
    if held:
        yield _joined(held, schema)


def _joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """One batch, its columns as the table names them."""
    (joined,) = pa.Table.from_batches(batches).cast(schema).combine_chunks().to_batches()
    return joined
