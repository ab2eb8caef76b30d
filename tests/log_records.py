"""Log records of the census-like model, as the door makes them: rows, labels, staged files."""

import census_like as census
import pyarrow as pa

from modelwarden_server.log.protocol import Kind, Record
from modelwarden_server.schema.compiled import ID, IDENTITY, compile_schema
from modelwarden_server.schema.digest import RowDigester, Words, id_keys, packed
from modelwarden_server.schema.parsed import Limits
from modelwarden_server.schema.parser import Parser
from modelwarden_server.store.passes import completed
from modelwarden_server.store.staged import StagedFile, StagedWriter, TableName
from modelwarden_server.store.store import Store

SCHEMA = compile_schema(census.identity())
LIMITS = Limits(rows=1000, string_length=1000, latest=1 << 60)
DIGESTER = RowDigester(SCHEMA.inference_record, but=ID)


def identify(rows: pa.RecordBatch) -> tuple[Words, Words]:
    """Keys and digests of rows of a request."""
    return id_keys(rows.column(ID).to_pylist()), DIGESTER.digests(rows)


def records(*names: str, sampled_out: int = 0, arrival: int = 5) -> list[Record]:
    """The records of one request: a row for each name, with a label."""
    rows = [census.row(name, truth=len(name) % 2) for name in names]
    parsed = Parser(SCHEMA).parse(census.body(*rows), LIMITS)
    identified = parsed.rows.append_column(IDENTITY, packed(*identify(parsed.rows)))
    payload = memoryview(identified.serialize())
    made = [
        Record(Kind.INFERENCES, parsed.rows.num_rows, payload, arrival, 1, sampled_out),
        Record(Kind.GROUND_TRUTH, parsed.truth.num_rows, memoryview(parsed.truth.serialize()), arrival, 1),
    ]
    return [r for r in made if r.rows or r.sampled_out]


def identify_names(*names: str) -> tuple[Words, Words]:
    """Keys and digests of the rows that `records` makes for these names."""
    rows = [census.row(name, truth=len(name) % 2) for name in names]
    return identify(Parser(SCHEMA).parse(census.body(*rows), LIMITS).rows)


def stage(store: Store, table: TableName, *names: str, sampled_out: int = 0) -> StagedFile:
    """A staged file with a row, or a label, for each name."""
    rows = [census.row(name, truth=len(name) % 2) for name in names]
    parsed = Parser(SCHEMA).parse(census.body(*rows), LIMITS)
    record = Record(Kind.INFERENCES, len(names), b"", 6, 1)
    inferences = table == "inferences"
    schema = SCHEMA.inference_table if inferences else SCHEMA.truth_table
    writer = StagedWriter(store.folders.staged, schema, frozenset({ID}))
    writer.write(completed(parsed.rows if inferences else parsed.truth, record, schema))
    file = writer.finish()
    if inferences:
        overlay = store.ids.overlay()
        overlay.add(*identify(parsed.rows))
        store.ids.name(overlay, file.name)
    return StagedFile(
        table, file.name, file.rows, file.size, file.stats, file.newest, 6, 1, sampled_out=sampled_out
    )
