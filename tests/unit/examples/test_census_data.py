"""How the census tables are read and given times; on made-up people, without the download."""

import io
import zipfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from examples_people import people
from hypothesis import given
from hypothesis import strategies as st

from examples.census import data


def raw(table: pa.Table) -> bytes:
    """As in the wheel: ages are floats, codes are dictionaries."""
    for name in (*data.INPUTS, *data.PROTECTED):
        index = table.column_names.index(name)
        column = table.column(name)
        table = table.set_column(
            index, name, column.cast(pa.float64()) if name == "AGEP" else column.dictionary_encode()
        )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.fixture
def small_wheel(tmp_path: Path) -> Path:
    year_2015, later = people(20, 2015), people(30, 2016, first_id=20)
    tables = {
        "reference": year_2015.sort_by([("id", "descending")]),
        "analysis": later.drop_columns([data.LABEL]),
    }
    path = tmp_path / data.WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, table in tables.items():
            archive.writestr(data.TABLES.format(name), raw(table))
        sink = io.BytesIO()
        pq.write_table(later.select(["id", data.LABEL]), sink)
        archive.writestr(data.TABLES.format("analysis_target"), sink.getvalue())
    return path


def test_the_tables_come_out_of_the_zip_clean_and_in_id_order(small_wheel: Path) -> None:
    census = data.read(small_wheel)
    assert census.year_2015.equals(people(20, 2015).select(census.year_2015.column_names))
    assert census.year_2015.column("id").to_pylist() == list(range(20))
    assert census.year_2015.schema.field("AGEP").type == pa.int64()
    assert {census.later.schema.field(name).type for name in data.PROTECTED} == {pa.string()}
    assert data.LABEL not in census.later.column_names
    assert census.later_labels.column_names == ["id", data.LABEL]


def test_a_wheel_that_is_not_the_expected_one_is_refused(small_wheel: Path) -> None:
    with pytest.raises(data.WheelError, match="SHA-256"):
        data.wheel(small_wheel.parent)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"MODELWARDEN_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c/census"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/modelwarden/census"),
        ({"HOME": "/h"}, "/h/.cache/modelwarden/census"),
    ],
)
def test_the_cache_is_where_people_expect_it(environ: dict[str, str], folder: str) -> None:
    assert data.cache_folder(environ) == Path(folder)


@given(counts=st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_the_rows_of_a_year_are_spread_evenly_over_it_in_id_order(counts: list[int]) -> None:
    tables, first = [], 0
    for offset, count in enumerate(counts):
        tables.append(people(count, 2016 + offset, first_id=first))
        first += count
    timed = data.with_times(pa.concat_tables(tables))
    times = timed.column("inference_timestamp")
    assert times.to_pylist() == sorted(times.to_pylist())
    for offset, count in enumerate(counts):
        year = 2016 + offset
        own = timed.filter(pc.equal(timed.column("year"), year)).column("inference_timestamp").to_pylist()
        assert own[0] == datetime(year, 1, 1, tzinfo=UTC)
        assert own[-1] < datetime(year + 1, 1, 1, tzinfo=UTC)
        gaps = {(later - earlier) for earlier, later in pairwise(own)}
        assert len(gaps) <= 2, "even up to a microsecond"
        assert len(own) == count


def test_ids_are_unique_and_say_the_year() -> None:
    timed = data.with_times(people(3, 2017, first_id=138_000))
    assert timed.column("partner_inference_id").to_pylist() == [
        f"census-2017-{n}" for n in range(138_000, 138_003)
    ]
