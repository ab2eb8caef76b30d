"""Tables of a model that had no attributes: they give way when it is given some.

Such a model only predicts. It takes in no rows, so its tables are empty, and nothing is lost. Asked only
where a table that has been verified turns out to have other columns. Must not touch one that has, or ever
had, a row.
"""

import logging
import shutil
from pathlib import Path
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable

from modelwarden_server.durable import sync_folder
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME, GENERATION, ID, TRUTH_TIME

log = logging.getLogger(__name__)
_BARE: Final = frozenset({ID, EVENT_TIME, TRUTH_TIME, ARRIVAL_TIME, BATCH, GENERATION})


def give_way(folder: Path, schema: pa.Schema) -> bool:
    """Remove the table in `folder`, which has other columns than `schema`, if it has none of attributes,
    `schema` has some, and no version of it ever had a file; whether it did. Durable when it returns. Raises
    OSError."""
    if set(schema.names) <= _BARE:
        return False
    table = DeltaTable(str(folder))
    names = pa.schema(table.schema().to_arrow()).names
    if not set(names) <= _BARE or table.file_uris() or any(folder.glob("*.parquet")):
        return False
    log.info("the model has been given attributes: its empty table %s begins anew", folder.name)
    aside = folder.with_name(f".{folder.name}.bare")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    sync_folder(folder.parent)
    shutil.rmtree(aside)
    return True
