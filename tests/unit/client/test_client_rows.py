"""What people hold becomes what goes over the wire; what cannot be sent is refused by name."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden.client.errors import ClientError
from modelwarden.client.rows import Rows, chunks, encode

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
WIRE = {
    "partner_inference_id": "a",
    "inference_timestamp": "2026-11-21T12:00:00.250000Z",
    "inference_data": {"age": 41, "city": "Rome", "score": 0.5},
}


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"partner_inference_id": ["a"], "inference_timestamp": [NOON], **columns})


def only(rows: Rows, **options: Any) -> dict[str, Any]:
    ((row,),) = chunks(rows, 10, **options)
    sent: dict[str, Any] = json.loads(encode([row]))[0]
    return sent


def table() -> pa.Table:
    return pa.Table.from_pandas(frame(age=[41], city=["Rome"], score=[0.5]), preserve_index=False)


@pytest.mark.parametrize(
    "form",
    [
        lambda: frame(age=[41], city=["Rome"], score=[0.5]),
        lambda: frame(age=[41], city=["Rome"], score=[0.5]).set_index(pd.Index([7])),
        lambda: frame(age=[41], city=pd.Categorical(["Rome"]), score=[0.5]),
        table,
        lambda: table().to_batches()[0],
    ],
    ids=["frame", "frame with an index", "categories", "table", "batch"],
)
def test_columns_become_the_same_nested_row(form: Callable[[], Rows]) -> None:
    assert only(form()) == WIRE


@pytest.mark.parametrize(
    "row",
    [
        {"partner_inference_id": "a", "inference_timestamp": NOON, "age": 41, "city": "Rome", "score": 0.5},
        {**WIRE, "inference_timestamp": NOON},
        {**WIRE, "inference_data": {"age": np.int64(41), "city": "Rome", "score": np.float32(0.5)}},
    ],
    ids=["flat", "nested", "numbers of numpy"],
)
def test_dictionaries_become_the_same_nested_row(row: dict[str, Any]) -> None:
    sent = only([row])
    assert datetime.fromisoformat(sent.pop("inference_timestamp")) == NOON
    assert sent == {name: value for name, value in WIRE.items() if name != "inference_timestamp"}


def test_times_are_sent_in_utc_to_the_microsecond() -> None:
    rome = NOON.astimezone(timezone(timedelta(hours=1)))
    assert (
        only(frame().assign(inference_timestamp=[rome]))["inference_timestamp"] == WIRE["inference_timestamp"]
    )


@pytest.mark.parametrize("missing", [float("nan"), float("inf"), None, pd.NA])
def test_numbers_that_are_none_are_sent_as_null(missing: Any) -> None:
    numbers = (
        pd.Series([missing], dtype="Float64") if missing is pd.NA else pd.Series([missing], dtype="float64")
    )
    assert only(frame(score=numbers))["inference_data"] == {"score": None}
    if missing is not pd.NA:
        nested = {
            "partner_inference_id": "a",
            "inference_timestamp": NOON,
            "inference_data": {"score": missing},
        }
        assert only([nested])["inference_data"] == {"score": None}


def test_labels_go_under_ground_truth() -> None:
    sent = only(frame(age=[41], label=[1], ground_truth_timestamp=[NOON]), ground_truth=["label"])
    assert sent["ground_truth_data"] == {"label": 1}
    assert sent["ground_truth_timestamp"] == WIRE["inference_timestamp"]
    assert sent["inference_data"] == {"age": 41}


def test_a_row_whose_labels_are_all_missing_is_sent_without_labels() -> None:
    assert "ground_truth_data" not in only(frame(age=[41], label=[None]), ground_truth=["label"])


@pytest.mark.parametrize("identity", [17, np.int64(17)])
def test_a_number_as_id_is_sent_as_text(identity: Any) -> None:
    assert only(frame(partner_inference_id=[identity]))["partner_inference_id"] == "17"
    row = {"partner_inference_id": identity, "inference_timestamp": NOON, "inference_data": {}}
    assert only([row])["partner_inference_id"] == "17"


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (frame().drop(columns="partner_inference_id"), "partner_inference_id"),
        (frame().drop(columns="inference_timestamp"), "inference_timestamp"),
        (frame().assign(partner_inference_id=[None]), "partner_inference_id"),
        ([{"inference_timestamp": NOON, "age": 1}], "partner_inference_id"),
        ([{"partner_inference_id": "a", "age": 1}], "inference_timestamp"),
        (frame().assign(inference_timestamp=[NOON.replace(tzinfo=None)]), "inference_timestamp"),
        (
            [{"partner_inference_id": "a", "inference_timestamp": NOON.replace(tzinfo=None)}],
            "inference_timestamp",
        ),
        (frame(price=[Decimal("1.50")]), "price"),
        (frame(blob=[b"x"]), "blob"),
        (frame(since=[datetime(2026, 1, 1)]), "since"),  # noqa: DTZ001 - the naive time is what is refused
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(rows: Rows, named: str) -> None:
    with pytest.raises(ClientError, match=named):
        list(chunks(rows, 10))


def test_a_value_without_a_json_form_is_refused_with_the_rows_ids() -> None:
    row = {"partner_inference_id": "odd", "inference_timestamp": NOON, "inference_data": {"what": object()}}
    ((sent,),) = chunks([row], 1)
    with pytest.raises(ClientError, match="odd"):
        encode([sent])


@given(count=st.integers(0, 60), size=st.integers(1, 20))
def test_every_row_is_in_exactly_one_chunk_and_in_order(count: int, size: int) -> None:
    ids = [f"id-{number}" for number in range(count)]
    columns = pa.table(
        {"partner_inference_id": pa.array(ids, pa.string()), "inference_timestamp": ["now"] * count}
    )
    dictionaries = columns.to_pylist()
    for rows in (columns, dictionaries):
        pieces = list(chunks(rows, size))
        assert [row["partner_inference_id"] for piece in pieces for row in piece] == ids
        assert all(len(piece) == size for piece in pieces[:-1])


def test_a_request_without_rows_is_refused() -> None:
    with pytest.raises(ClientError, match="rows_per_request"):
        chunks(frame(), 0)
