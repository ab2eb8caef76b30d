"""`Cell` against a scripted cell: what it asks, what it makes of the answers."""

import io
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted_cell import MODEL_ID, Answer, Asked, ScriptedCell, always, taken

from modelwarden.client import (
    Cell,
    CellError,
    ClientError,
    DriftScope,
    Patience,
    RefusedRow,
    RowsRefusedError,
    Sending,
    SendInterruptedError,
    SendReport,
)

QUICK = Patience(total_seconds=0.2, first_pause=0.01)
INFERENCES = f"/api/v3/models/{MODEL_ID}/inferences"
REFERENCE = f"/api/v3/models/{MODEL_ID}/reference_data"


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "partner_inference_id": f"r{n}",
            "inference_timestamp": "2026-11-21T12:00:00Z",
            "inference_data": {"x": n},
        }
        for n in range(count)
    ]


@pytest.fixture
def cell(scripted: ScriptedCell) -> Any:
    with Cell(scripted.url, "secret\n", MODEL_ID, patience=QUICK) as made:
        yield made


def test_every_row_is_sent_once_and_counted(scripted: ScriptedCell, cell: Cell) -> None:
    heard: list[SendReport] = []
    report = cell.send(
        rows(2500), sending=Sending(rows_per_request=1000, in_flight=3, on_answer=heard.append)
    )
    sent = [row["partner_inference_id"] for asked in scripted.asked for row in asked.json()]
    assert sorted(sent) == sorted(f"r{n}" for n in range(2500))
    assert (report.sent, report.acknowledged, report.refused) == (2500, 2500, ())
    assert [answer.sent for answer in heard] == [1000, 1000, 500]
    assert {asked.path for asked in scripted.asked} == {INFERENCES}
    assert {asked.headers["Authorization"] for asked in scripted.asked} == {"Bearer secret"}


def test_no_more_requests_are_under_way_than_allowed(scripted: ScriptedCell, cell: Cell) -> None:
    gate, lock = threading.Barrier(2, timeout=60), threading.Lock()
    under_way, most = 0, 0

    def script(asked: Asked, n: int) -> Answer:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        gate.wait()  # both places must be taken before either answers
        with lock:
            under_way -= 1
        return taken(asked)

    scripted.script = script
    cell.send(rows(12), sending=Sending(rows_per_request=1, in_flight=2))
    assert most == 2


def refusing(*ids: str) -> Any:
    def script(asked: Asked, n: int) -> Answer:
        results = [
            {"message": "x: not an integer", "status": 400}
            if row["partner_inference_id"] in ids
            else {"message": "success", "status": 200}
            for row in asked.json()
        ]
        return Answer(207, {"counts": {}, "results": results})

    return script


def test_refused_rows_are_named_by_the_callers_ids(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = refusing("r3", "r7")
    with pytest.raises(RowsRefusedError, match="r3") as raised:
        cell.send(rows(10), sending=Sending(rows_per_request=4))
    report = raised.value.report
    assert report.refused == (
        RefusedRow("r3", 400, "x: not an integer"),
        RefusedRow("r7", 400, "x: not an integer"),
    )
    assert (report.sent, report.acknowledged) == (10, 8)


def test_refused_rows_need_not_raise(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = refusing("r0")
    report = cell.send(rows(2), sending=Sending(raise_on_refused=False))
    assert [row.id for row in report.refused] == ["r0"]


def test_a_body_too_large_is_halved_until_it_fits(scripted: ScriptedCell, cell: Cell) -> None:
    def script(asked: Asked, n: int) -> Answer:
        return taken(asked) if len(asked.json()) <= 3 else Answer(413, {"error": "too many rows"})

    scripted.script = script
    report = cell.send(rows(10))
    assert report.acknowledged == 10
    stored = [
        row["partner_inference_id"]
        for asked in scripted.asked
        if len(asked.json()) <= 3
        for row in asked.json()
    ]
    assert sorted(stored) == sorted(f"r{n}" for n in range(10))


def test_a_single_row_too_large_is_an_error(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(Answer(413, {"error": "too large"}))
    with pytest.raises(SendInterruptedError, match="too large"):
        cell.send(rows(1))


def test_when_the_cell_stops_answering_the_report_says_what_was_acknowledged(
    scripted: ScriptedCell, cell: Cell
) -> None:
    def script(asked: Asked, n: int) -> Answer:
        return (
            Answer(503, {"error": "the disk is full"})
            if asked.json()[0]["inference_data"]["x"] >= 4
            else taken(asked)
        )

    scripted.script = script
    with pytest.raises(SendInterruptedError, match="the disk is full") as raised:
        cell.send(rows(10), sending=Sending(rows_per_request=2, in_flight=1))
    assert raised.value.report.acknowledged == 4


def test_a_dropped_connection_is_mended_by_sending_again(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = lambda asked, n: Answer(0, hang_up=True) if n == 0 else taken(asked)
    assert cell.send(rows(3)).acknowledged == 3
    assert [len(asked.json()) for asked in scripted.asked] == [3, 3]


def test_an_answer_for_other_rows_than_were_sent_is_an_error(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(Answer(207, {"counts": {}, "results": []}))
    with pytest.raises(SendInterruptedError, match="answered for 0 rows"):
        cell.send(rows(2))


def test_a_web_page_is_recognised_as_not_a_cell(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(Answer(200, ["hello"]))
    with pytest.raises(CellError, match="is this a cell"):
        cell.status()


def test_the_model_id_is_asked_of_the_cell_once(scripted: ScriptedCell) -> None:
    def script(asked: Asked, n: int) -> Answer:
        return Answer(200, {"modelId": MODEL_ID}) if asked.path == "/status" else taken(asked)

    scripted.script = script
    with Cell(scripted.url, "secret") as cell:
        cell.send(rows(1))
        cell.send(rows(1))
    assert [asked.path for asked in scripted.asked] == ["/status", INFERENCES, INFERENCES]


def _part_rows(asked: Asked) -> int:
    start = asked.body.index(b"PAR1")
    return int(pq.read_metadata(io.BytesIO(asked.body[start : asked.body.rindex(b"PAR1") + 4])).num_rows)


def counted(asked: Asked, n: int) -> Answer:
    count = _part_rows(asked)
    return Answer(207, {"counts": {"success": count, "failure": 0, "total": count}, "failures": []})


@pytest.mark.parametrize("form", ["table", "frame", "file"])
def test_a_reference_is_uploaded_in_parts_and_closed_with_its_number(
    scripted: ScriptedCell, cell: Cell, tmp_path: Path, form: str
) -> None:
    table = pa.table({"x": list(range(2500))})
    pq.write_table(table, tmp_path / "reference.parquet")
    source = {"table": table, "frame": table.to_pandas(), "file": tmp_path / "reference.parquet"}[form]
    scripted.script = counted
    report = cell.upload_reference(source, dataset="d", rows_per_part=1000)
    assert (report.rows, report.parts) == (2500, 3)
    assert [_part_rows(asked) for asked in scripted.asked] == [1000, 1000, 500]
    assert all(b'name="reference_data"' in asked.body for asked in scripted.asked)
    assert {(asked.method, asked.path, asked.query["dataset"][0]) for asked in scripted.asked} == {
        ("POST", REFERENCE, "d")
    }
    scripted.script = always(Answer(200, {"message": "success"}))
    cell.close_reference(report.rows, dataset="d")
    assert scripted.asked[-1].method == "PATCH"
    assert scripted.asked[-1].json() == {"status": "uploaded", "total_record_count": 2500}


def test_a_part_that_is_not_wholly_taken_stops_the_upload(scripted: ScriptedCell, cell: Cell) -> None:
    failures = [{"message": "x: not an integer", "status": 400}]
    scripted.script = always(
        Answer(207, {"counts": {"success": 9, "failure": 1, "total": 10}, "failures": failures})
    )
    with pytest.raises(CellError, match="x: not an integer"):
        cell.upload_reference(pa.table({"x": list(range(20))}), rows_per_part=10)
    assert len(scripted.asked) == 1


def test_drift_comes_back_as_a_frame_with_a_row_a_window(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(
        Answer(
            200,
            {
                "query_result": [
                    {"rollup": "2016-02-01T00:00:00Z", "age": 0.4, "sex": None},
                    {"rollup": "2016-01-01T00:00:00Z", "age": 0.1, "sex": 0.2},
                ],
            },
        )
    )
    frame = cell.drift(
        ["sex", "age"], rollup="month", scope=DriftScope(between=(datetime(2016, 1, 1, tzinfo=UTC), None))
    )
    assert list(frame.columns) == ["sex", "age"]
    assert list(frame.index) == [pd.Timestamp("2016-01-01", tz="UTC"), pd.Timestamp("2016-02-01", tz="UTC")]
    assert frame["age"].tolist() == [0.1, 0.4]
    assert pd.isna(frame["sex"].iloc[1])
    asked = scripted.asked[0].json()
    assert asked["rollup"] == "month"
    assert asked["base"] == {"source": "reference"}
    assert asked["target"]["filter"] == [
        {"property": "inference_timestamp", "comparator": "gte", "value": "2016-01-01T00:00:00+00:00"}
    ]


def test_more_features_than_a_query_takes_are_asked_for_in_several(
    scripted: ScriptedCell, cell: Cell
) -> None:
    features = [f"f{n}" for n in range(230)]

    def script(asked: Asked, n: int) -> Answer:
        row = {"rollup": "2016-01-01T00:00:00Z", **dict.fromkeys(asked.json()["properties"], 0.5)}
        return Answer(200, {"query_result": [row]})

    scripted.script = script
    frame = cell.drift(features, rollup="month")
    assert list(frame.columns) == features
    assert len(scripted.asked) == 3
    assert frame.shape == (1, 230)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda cell: cell.drift([]), "feature"),
        (lambda cell: cell.drift(["x"], scope=DriftScope((datetime(2016, 1, 1), None))), "time zone"),  # noqa: DTZ001
    ],
)
def test_a_question_that_makes_no_sense_is_not_asked(
    scripted: ScriptedCell, cell: Cell, call: Any, named: str
) -> None:
    with pytest.raises(ClientError, match=named):
        call(cell)
    assert scripted.asked == []


@pytest.mark.parametrize(
    ("url", "key", "named"), [("localhost:8080", "k", "http://"), ("http://x", " ", "key")]
)
def test_an_address_or_key_that_cannot_work_is_refused_at_once(url: str, key: str, named: str) -> None:
    with pytest.raises(ClientError, match=named):
        Cell(url, key)
