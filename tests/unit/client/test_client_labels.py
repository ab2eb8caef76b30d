"""Labels as people hold them become labels on the wire: late, with gaps, corrected, refused by name."""

import threading
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from scripted_cell import MODEL_ID, Answer, Asked, ScriptedCell, always, taken

from modelwarden.client import Cell, ClientError, RowsRefusedError, Sending, SendReport
from modelwarden.client.rows import Rows, label_chunks

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
WIRE = {
    "partner_inference_id": "a",
    "ground_truth_timestamp": "2026-06-01T00:00:00.000000Z",
    "ground_truth_data": {"gt": 1},
}


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"partner_inference_id": ["a"], "ground_truth_timestamp": [JUNE], **columns})


@pytest.fixture
def cell(scripted: ScriptedCell) -> Any:
    with Cell(scripted.url, "secret", MODEL_ID) as made:
        yield made


@pytest.mark.parametrize(
    "rows",
    [
        frame(gt=[1]),
        pa.Table.from_pandas(frame(gt=[1]), preserve_index=False),
        [{**WIRE, "ground_truth_data": {"gt": 1}}],
        [{"partner_inference_id": "a", "ground_truth_timestamp": WIRE["ground_truth_timestamp"], "gt": 1}],
        frame(gt=[1], inference_timestamp=[JUNE], batch_id=["b"]),
    ],
    ids=["frame", "table", "nested", "flat", "with an inference's head"],
)
def test_a_label_in_any_form_is_the_same_on_the_wire(rows: Rows) -> None:
    assert list(label_chunks(rows, 10)) == [[WIRE]]


def test_only_the_named_labels_are_sent_of_rows_that_hold_more() -> None:
    wide = frame(gt=[1], age=[41], amount=[b"\x00"])
    assert list(label_chunks(wide, 10, ["gt"])) == [[WIRE]]
    dictionary = [{**wide.drop(columns="amount").iloc[0].to_dict(), "gt": 1}]
    ((sent,),) = label_chunks(dictionary, 10, ["gt"])
    assert sent["ground_truth_data"] == {"gt": 1}


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (frame(gt=[1]).drop(columns="ground_truth_timestamp"), "ground_truth_timestamp"),
        (frame(gt=[1]).assign(partner_inference_id=[None]), "partner_inference_id"),
        (frame(gt=[1]).assign(ground_truth_timestamp=[JUNE.replace(tzinfo=None)]), "ground_truth_timestamp"),
        ([{"partner_inference_id": "a", "gt": 1}], "ground_truth_timestamp"),
    ],
)
def test_a_label_without_id_or_time_is_refused_by_name(rows: Rows, named: str) -> None:
    with pytest.raises(ClientError, match=named):
        list(label_chunks(rows, 10))


def test_labels_are_sent_and_rows_without_one_are_counted(scripted: ScriptedCell, cell: Cell) -> None:
    ids = [f"r{n}" for n in range(6)]
    late = pd.DataFrame(
        {"partner_inference_id": ids, "ground_truth_timestamp": JUNE, "gt": [1, None, 0, None, None, None]}
    )
    report = cell.send_labels(late, sending=Sending(rows_per_request=2))
    assert report == SendReport(sent=2, acknowledged=2, not_sent=4)
    sent = [row for asked in scripted.asked for row in asked.json()]
    assert sorted(row["partner_inference_id"] for row in sent) == ["r0", "r2"]  # two requests, at once
    assert {(asked.method, asked.path) for asked in scripted.asked} == {
        ("PATCH", f"/api/v3/models/{MODEL_ID}/ground_truth")
    }


def test_refused_labels_are_named(scripted: ScriptedCell, cell: Cell) -> None:
    refused = {"message": "gt: not an integer", "status": 400}
    scripted.script = always(Answer(207, {"counts": {}, "results": [refused]}))
    with pytest.raises(RowsRefusedError, match="gt: not an integer") as raised:
        cell.send_labels(pd.concat([frame(gt=[1]), frame(gt=[None])]))
    assert raised.value.report.refused[0].id == "a"
    assert raised.value.report.not_sent == 1


def test_a_correction_in_the_same_call_never_overtakes_what_it_corrects(
    scripted: ScriptedCell, cell: Cell
) -> None:
    under_way: set[str] = set()
    lock, overtaken = threading.Lock(), []

    def script(asked: Asked, n: int) -> Answer:
        ids = {row["partner_inference_id"] for row in asked.json()}
        with lock:
            overtaken.extend(under_way & ids)
            under_way.update(ids)
        answer = taken(asked)
        with lock:
            under_way.difference_update(ids)
        return answer

    scripted.script = script
    rows = [{"partner_inference_id": f"r{n % 3}", "ground_truth_timestamp": JUNE, "gt": n} for n in range(40)]
    cell.send_labels(rows, sending=Sending(rows_per_request=1, in_flight=4))
    assert overtaken == []
    heard = [row["ground_truth_data"]["gt"] for asked in scripted.asked for row in asked.json()]
    for which in range(3):
        mine = [value for value in heard if value % 3 == which]
        assert mine == sorted(mine)
