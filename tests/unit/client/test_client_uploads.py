"""Files on their way to a cell: streamed with their length, whole again after a mishap, told as they go."""

import io
import json
import os
import tracemalloc
import zipfile
from datetime import UTC, datetime
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted_cell import MODEL_ID, Answer, Asked, ScriptedCell, always

from modelwarden.client import (
    Cell,
    CellError,
    ClientError,
    DriftScope,
    FileReport,
    FileRowsRefusedError,
    FileSending,
    Patience,
    RowFailure,
)

FILE = f"/api/v3/models/{MODEL_ID}/inferences/file"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def rows(count: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {"partner_inference_id": [f"r{n}" for n in range(count)], "inference_timestamp": NOON, "x": 1.5}
    )


def answer(total: int = 3, **more: Any) -> Answer:
    return Answer(207, {"counts": {"success": total, "failure": 0, "total": total}, "failures": [], **more})


def parts(asked: Asked) -> dict[str, bytes]:
    """The parts of a form, read by the standard library."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    form = BytesParser().parsebytes(head + asked.body)
    found = {}
    for part in form.get_payload():
        assert not isinstance(part, str)
        name = part.get_param("name", header="Content-Disposition")
        found[str(name)] = part.get_payload(decode=True)
    return found


@pytest.fixture
def cell(scripted: ScriptedCell) -> Any:
    scripted.script = always(answer())
    patience = Patience(total_seconds=0.5, first_pause=0.01)
    with Cell(scripted.url, "secret", MODEL_ID, patience=patience) as made:
        yield made


def test_a_file_is_sent_as_it_is_with_its_length(scripted: ScriptedCell, cell: Cell, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "rows.json").write_bytes(content)
    report = cell.send_file(tmp_path / "rows.json", batch_id="b/1")
    assert report == FileReport(rows=3, acknowledged=3, refused=0)
    (asked,) = scripted.asked
    assert (asked.method, asked.path) == ("POST", FILE)
    assert int(asked.headers["Content-Length"]) == len(asked.body)
    assert "Transfer-Encoding" not in asked.headers
    assert parts(asked) == {"batch_id": b"b/1", "inference_data": content}


@pytest.mark.parametrize("form", ["frame", "table"])
def test_a_frame_goes_as_parquet_without_its_index(scripted: ScriptedCell, cell: Cell, form: str) -> None:
    frame = rows().set_index(pd.Index([7, 8, 9]))
    cell.send_file(frame if form == "frame" else pa.Table.from_pandas(frame))
    sent = pq.read_table(io.BytesIO(parts(scripted.asked[0])["inference_data"]))
    assert sent.column_names == ["partner_inference_id", "inference_timestamp", "x"]
    assert sent.column("inference_timestamp").to_pylist() == [NOON] * 3


def test_labels_go_as_labels(scripted: ScriptedCell, cell: Cell) -> None:
    labels = rows().rename(columns={"inference_timestamp": "ground_truth_timestamp", "x": "gt"})
    cell.send_file(labels, kind="ground_truth_data")
    assert set(parts(scripted.asked[0])) == {"ground_truth_data"}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_go_beside_the_rows_that_name_them(
    scripted: ScriptedCell, cell: Cell, tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "scans"
    (folder / "left").mkdir(parents=True)
    (folder / "left" / "1.png").write_bytes(b"png 1")
    (folder / "2.png").write_bytes(b"png 2")
    packed = tmp_path / "scans.zip"
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("left/1.png", b"png 1")
        made.writestr("2.png", b"png 2")
    cell.send_file(rows(), images=folder if form == "folder" else packed)
    with zipfile.ZipFile(io.BytesIO(parts(scripted.asked[0])["image_data"])) as sent:
        assert {name: sent.read(name) for name in sent.namelist()} == {
            "left/1.png": b"png 1", "2.png": b"png 2",
        }  # fmt: skip


def test_after_a_mishap_the_whole_file_is_sent_again(
    scripted: ScriptedCell, cell: Cell, tmp_path: Path
) -> None:
    content = os.urandom(200_000)
    (tmp_path / "rows.json").write_bytes(content)
    mishaps = [Answer(0, hang_up=True), Answer(503, {"error": "full"}, {"Retry-After": "0"}), answer()]
    scripted.script = lambda _asked, n: mishaps[n]
    heard: list[int] = []
    sending = FileSending(on_progress=lambda sent, _of: heard.append(sent))
    cell.send_file(tmp_path / "rows.json", sending=sending)
    assert [parts(asked)["inference_data"] for asked in scripted.asked] == [content] * 3
    assert heard.count(len(content)) >= 3
    starts = [0, *[place for place in range(1, len(heard)) if heard[place] < heard[place - 1]]]
    assert len(starts) == 3, "each try tells from nothing again"


class Sink(httpx.BaseTransport):
    """Takes what comes and keeps none of it."""

    taken = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        for piece in request.stream:
            self.taken += len(piece)
        return httpx.Response(207, json=answer().body)


def test_a_large_file_is_never_held_in_memory(tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "large.parquet").open("wb") as file:
        file.truncate(size)
    sink = Sink()
    with Cell(
        "http://cell", "k", MODEL_ID, http=httpx.Client(transport=sink, base_url="http://cell")
    ) as cell:
        tracemalloc.start()
        try:
            cell.send_file(tmp_path / "large.parquet")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sink.taken > size
    assert peak < 4 << 20


def test_rows_that_were_refused_are_told_by_their_place(scripted: ScriptedCell, cell: Cell) -> None:
    said = {
        "counts": {"success": 1, "failure": 2, "total": 3},
        "failures": [{"message": "row 2: age: not an integer", "status": 400}],
        "failures_left_out": 1,
        "ignored_columns": ["extra"],
    }
    scripted.script = always(Answer(207, said))
    with pytest.raises(FileRowsRefusedError, match="row 2: age") as raised:
        cell.send_file(rows())
    expected = FileReport(3, 1, 2, (RowFailure(400, "row 2: age: not an integer"),), ("extra",))
    assert raised.value.report == expected
    assert cell.send_file(rows(), sending=FileSending(raise_on_refused=False)) == expected


def test_an_answer_without_counts_is_no_success(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(Answer(200, {"message": "ok"}))
    with pytest.raises(CellError, match="what became"):
        cell.send_file(rows())


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("nothing.parquet", "inference_data", "not a file"),
        ("empty.parquet", "inference_data", "empty"),
        ("rows.csv", "inference_data", "modelwarden send"),
        (rows().drop(columns="inference_timestamp"), "inference_data", "inference_timestamp"),
        (rows(), "ground_truth_data", "ground_truth_timestamp"),
        (rows().assign(inference_timestamp=NOON.replace(tzinfo=None)), "inference_data", "zone"),
    ],
)
def test_what_cannot_be_taken_is_not_sent(
    scripted: ScriptedCell, cell: Cell, tmp_path: Path, source: Any, kind: Any, said: str
) -> None:
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with pytest.raises(ClientError, match=said):
        cell.send_file(tmp_path / source if isinstance(source, str) else source, kind=kind)
    assert scripted.asked == []


def test_a_query_comes_back_as_a_frame_that_says_how_it_was_answered(
    scripted: ScriptedCell, cell: Cell
) -> None:
    found = [{"inference_timestamp": "2026-11-21T12:00:00Z", "n": 3}]
    scripted.script = always(
        Answer(200, {"query_result": found, "computed_from": "rows", "rows_left_out": True})
    )
    frame = cell.query({"select": ["*"]})
    assert frame.loc[0, "inference_timestamp"] == pd.Timestamp(NOON)
    assert frame.attrs == {"computed_from": "rows", "rows_left_out": True}
    assert scripted.asked[0].json() == {"select": ["*"]}


def test_an_inference_comes_back_with_its_labels(scripted: ScriptedCell, cell: Cell) -> None:
    body = {"query_result": [{"x": 1}], "ground_truth_history": [{"ground_truth_data": {"gt": 1}}]}
    scripted.script = always(Answer(200, body))
    found = cell.inference("a/b c?d#e")
    assert (found.row, found.labels) == ({"x": 1}, ({"ground_truth_data": {"gt": 1}},))
    assert scripted.asked[0].path.endswith("/inferences/query/a%2Fb%20c%3Fd%23e")


def test_batches_are_asked_for_and_closed(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(Answer(200, {"status": "open"}))
    cell.batch("run 1")
    cell.close_batch("run 1", 10)
    cell.close_batch("run 1")
    assert [asked.method for asked in scripted.asked] == ["GET", "PATCH", "PATCH"]
    assert {asked.path for asked in scripted.asked} == {f"/api/v3/models/{MODEL_ID}/batches/run%201"}
    bodies = [json.loads(asked.body) for asked in scripted.asked[1:]]
    assert bodies == [{"status": "uploaded", "total_record_count": 10}, {"status": "uploaded"}]


def test_forgetting_names_ids_or_a_value_and_never_both(scripted: ScriptedCell, cell: Cell) -> None:
    scripted.script = always(Answer(202, {"id": "f1", "state": "accepted"}))
    assert cell.forget(["a", "b"])["id"] == "f1"
    cell.forget(attribute="customer", value=0)
    assert [asked.json() for asked in scripted.asked] == [
        {"partner_inference_ids": ["a", "b"]},
        {"attribute": "customer", "value": 0},
    ]
    for wrong in (lambda: cell.forget(), lambda: cell.forget(["a"], attribute="customer", value=1)):
        with pytest.raises(ClientError, match="what to forget"):
            wrong()
    cell.forget_request("f1")
    assert (scripted.asked[-1].method, scripted.asked[-1].path.rpartition("/")[2]) == ("GET", "f1")


def test_data_quality_comes_back_as_a_row_a_finding(scripted: ScriptedCell, cell: Cell) -> None:
    finding = {"rows": 3, "share": 0.3, "reference_share": 0.0, "p_value": 0.01, "raised": True}
    row = {"rows": 10, "age": {"missing": finding}, "rollup": "2026-01-01T00:00:00Z", "town": "Rome"}
    scripted.script = always(Answer(200, {"query_result": [row], "computed_from": "rows"}))
    scope = DriftScope(group_by=["town"])
    found = cell.data_quality(["age"], rollup="month", scope=scope)
    expected = {"window": pd.Timestamp("2026-01-01", tz="UTC"), "town": "Rome", "attribute": "age"}
    assert found.to_dict("records") == [{**expected, "question": "missing", **finding}]
    assert scripted.asked[0].json()["group_by"] == [{"property": "town"}]
