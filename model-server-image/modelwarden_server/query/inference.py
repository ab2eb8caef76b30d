"""One inference by its id: its row with the newest label, and every label that it ever got, newest first.

The column of ids is read first, file by file; everything else only of the files that hold the id. Must not
know HTTP.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.query.scan import Deadline, Files
from modelwarden_server.query.sql.answer import Page, QuerySources, answered
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.sql.kinds import instant_text, shape_of
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import EVERYTHING, Condition, Item, Property, Query
from modelwarden_server.schema.compiled import ARRIVAL_TIME, GENERATION, ID, TRUTH_TIME

_ROWS_AT_ONCE = 65_536


def inference_with_labels(
    identifier: str, sources: QuerySources, deadline: Deadline, engine: Engine
) -> bytes | None:
    """`{"query_result": [row], "ground_truth_history": […]}`, or None if there is no such inference.

    Raises QueryTooLargeError, OSError (a file is gone).
    """
    inferences = _holding(sources.inferences, identifier, deadline)
    if not inferences.paths:
        return None
    labels = _holding(sources.labels, identifier, deadline)
    asked = Condition(Property(ID, ID), "eq", identifier, ID)
    query = Query(
        (Item(EVERYTHING, Property(EVERYTHING, ""), ""),), source="enriched", conditions=(asked,), limit=1
    )
    found = answered(query, Page(), replace(sources, inferences=inferences, labels=labels), deadline, engine)
    row = msgspec.json.decode(found)["query_result"]
    if not row:
        return None
    history = _history(labels, identifier, sources.model, deadline)
    return msgspec.json.encode({"query_result": row, "ground_truth_history": history})


def waiting_labels(identifier: str, sources: QuerySources, deadline: Deadline) -> int:
    """How many labels there are for the id, whose inference may not have come."""
    labels = sources.labels
    return sum(b.num_rows for b in rows_with_id(labels.paths, labels, identifier, deadline, [ID]))


def _holding(files: Files, identifier: str, deadline: Deadline) -> Files:
    """Those of the files that hold the id."""
    paths = tuple(
        path
        for path in files.paths
        if any(batch.num_rows for batch in rows_with_id([path], files, identifier, deadline, [ID]))
    )
    return replace(files, paths=paths)


def _history(files: Files, identifier: str, model: QueriedModel, deadline: Deadline) -> list[dict[str, Any]]:
    names = [name for name in files.schema.names if name not in (ID, GENERATION)]
    rows = [
        row
        for batch in rows_with_id(files.paths, files, identifier, deadline, names)
        for row in batch.to_pylist()
    ]
    rows = rows[::-1]  # of two that arrived at once, the later one in the table is the newer
    rows.sort(key=lambda row: row[ARRIVAL_TIME], reverse=True)
    return [_told(row, model) for row in rows]


def _told(row: dict[str, Any], model: QueriedModel) -> dict[str, Any]:
    data = {}
    for name, value in row.items():
        if name in (ARRIVAL_TIME, TRUTH_TIME):
            continue
        shape = shape_of(model.by_name[name].value_type)
        data[name] = value if shape is None else shape(value)
    return {
        TRUTH_TIME: instant_text(row[TRUTH_TIME]),
        ARRIVAL_TIME: instant_text(row[ARRIVAL_TIME]),
        "ground_truth_data": data,
    }


def rows_with_id(
    paths: Sequence[Path], files: Files, identifier: str, deadline: Deadline, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of files that have the id. Raises QueryTooLargeError, OSError (a file is gone)."""
    import pyarrow.dataset as ds  # takes pandas with it where that is installed: only a scan pays

    if not paths:
        return
    data = ds.dataset([str(path) for path in paths], schema=files.schema, format="parquet")
    scanner = data.scanner(
        columns=columns,
        filter=pc.field(ID) == identifier,
        batch_size=_ROWS_AT_ONCE,
        batch_readahead=2,
        fragment_readahead=1,
        use_threads=False,
    )
    for batch in scanner.to_batches():
        deadline.check()
        yield batch
