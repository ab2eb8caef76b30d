"""Tables of a model that had no attributes: they give way when it is given some.

Such a model only predicts. It takes in no rows, so its tables are empty, and nothing is lost. Must not touch
a table that has, or ever had, a row.
"""

import logging
import shutil
from pathlib import Path
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from modelwarden_server.durable import sync_folder
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME, GENERATION, ID, TRUTH_TIME
from modelwarden_server.store.verify import verify_table

log = logging.getLogger(__name__)
_BARE: Final = frozenset({ID, EVENT_TIME, TRUTH_TIME, ARRIVAL_TIME, BATCH, GENERATION})


def give_way(folder: Path, schema: pa.Schema) -> None:
    """Remove the table in `folder` if it has no columns of attributes, `schema` has some, and no version of
    it ever had a file. Durable when it returns. Raises OSError, TableDamagedError."""
    if set(schema.names) <= _BARE:
        return
    table = _opened(folder)
    if table is None:
        return
    names = pa.schema(table.schema().to_arrow()).names
    if not set(names) <= _BARE or table.file_uris() or any(folder.glob("*.parquet")):
        return
    log.info("the model has been given attributes: its empty table %s begins anew", folder.name)
    aside = folder.with_name(f".{folder.name}.bare")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    sync_folder(folder.parent)
    shutil.rmtree(aside)


def _opened(folder: Path) -> DeltaTable | None:
    """The table, if there is one. After a crash its last entry may be torn, and has to be mended first."""
    try:
        return DeltaTable(str(folder)) if DeltaTable.is_deltatable(str(folder)) else None
    except DeltaError:
        verify_table(folder)
        return DeltaTable(str(folder)) if DeltaTable.is_deltatable(str(folder)) else None
