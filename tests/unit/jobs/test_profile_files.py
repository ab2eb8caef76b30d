"""The profile of reference files with lists of structs, whose fields are leaves of their own."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.jobs.profile import profile_files
from modelwarden_server.schema.compiled import EVENT_TIME

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = columns_of(
    [
        ResolvedAttribute.model_validate(
            {"name": name, "valueType": kind, "stage": "PIPELINE_INPUT", "position": place}
        )
        for place, (name, kind) in enumerate((("visits", "TIME_SERIES"), ("age", "INTEGER")))
    ]
)


@pytest.mark.parametrize(("times", "timed"), [([None] * 300, False), ([NOON] * 300, True)])
def test_rows_without_times_are_not_taken_for_a_course(tmp_path: Path, times: list, timed: bool) -> None:
    visits = pa.array([[{"timestamp": NOON, "value": 1.0}]] * 300)
    stamps = pa.array(times, pa.timestamp("us", "UTC"))
    path = tmp_path / "reference.parquet"
    pq.write_table(pa.table({"visits": visits, EVENT_TIME: stamps, "age": list(range(300))}), path)
    profile = profile_files([path], COLUMNS, "c" * 64, lambda *_args, **_more: None)
    assert profile.relations.blocks is not None
    assert profile.relations.blocks.timed is timed
