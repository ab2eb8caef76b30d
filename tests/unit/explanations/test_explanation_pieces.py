"""Pure parts of explanations: rank agreement, sums of values, what a margin means, shapes, the status."""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from explained_rows import BACKGROUND, CODE, NAMES, answer_to, explained_row, stream
from hypothesis import given
from hypothesis import strategies as st

from modelwarden.resources.cell import ExplainabilitySettings
from modelwarden.resources.server import (
    CodePlan,
    CodeReport,
    CodeState,
    ExplainPlan,
    PodReport,
    ServerFile,
    ServerPlan,
)
from modelwarden_server.derived.counts import TIMES
from modelwarden_server.explanations.agreement import agreement
from modelwarden_server.explanations.answer import Answer, failures, read_answer
from modelwarden_server.explanations.jobs import Jobs
from modelwarden_server.explanations.pictures import Pictures
from modelwarden_server.explanations.report import Server, enrichment_report
from modelwarden_server.explanations.shapes import Sheet, explained, record_of
from modelwarden_server.explanations.space import BITS, ImportanceSpace
from modelwarden_server.explanations.table import table_rows
from modelwarden_server.explanations.what_if import predicted
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME, ID, INSTANT
from modelwarden_server.web import Refusal

ROWS = [
    {"id": f"r{i}", "age": 20 + i, "income": 1.0 + i, "town": ("north", "south", "west")[i % 3]}
    for i in range(9)
]
ASKED = pa.RecordBatch.from_pylist(ROWS)


def answered(rows: list[dict], **more: object) -> Answer:
    return read_answer(stream(rows, **more), ASKED.slice(0, len(rows)), NAMES, 1 << 20)


def keys(many: int, at: int = 0) -> pa.RecordBatch:
    times = pa.array([at] * many, pa.int64()).cast(INSTANT)
    columns = [pa.array([f"r{i}" for i in range(many)]), times, times, pa.nulls(many, pa.string())]
    return pa.RecordBatch.from_arrays(columns, names=[ID, EVENT_TIME, ARRIVAL_TIME, BATCH])


def test_the_agreement_of_a_known_case_is_as_computed_by_hand() -> None:
    reference, window = np.array([3.0, 2.0, 1.0]), np.array([0.1, 0.2, 0.3])
    best = 3 + 2 / np.log2(3) + 1 / 2
    assert agreement(window, reference) == pytest.approx((1 + 2 / np.log2(3) + 3 / 2) / best)
    assert agreement(reference, reference) == 1.0
    assert agreement(window, np.zeros(3)) is None


def test_ties_in_the_window_never_flatter() -> None:
    even = agreement(np.ones(3), np.array([3.0, 2.0, 1.0]))
    worst = agreement(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    assert even == worst


@given(st.permutations(list(range(5))))
def test_the_agreement_does_not_depend_on_the_order_of_attributes(order: list[int]) -> None:
    window, reference = np.array([5.0, 1, 1, 0, 2]), np.array([1.0, 0, 4, 3, 2])
    told = agreement(window[order], reference[order])
    assert told == pytest.approx(agreement(window, reference))
    assert told is not None
    assert 0 < told <= 1


def test_counts_say_the_mean_of_absolute_values_however_rows_are_split() -> None:
    space = ImportanceSpace(NAMES.inputs, NAMES.outputs)
    rows = table_rows(keys(9), answered([explained_row(row) for row in ROWS]))
    whole, split = np.zeros(space.size, np.int64), np.zeros(space.size, np.int64)
    for totals, parts in ((whole, [rows]), (split, [rows.slice(0, 4), rows.slice(4)])):
        for part in parts:
            for found in space.fold_at(part, np.zeros(part.num_rows, np.int64), TIMES):
                totals[found.keys] += found.counts
    assert np.array_equal(whole, split)
    told = space.told(whole)
    assert (told.explained, told.failed) == (9, 0)
    assert told.importance is not None
    expected = np.abs([explained_row(row)["values"] for row in ROWS]).mean(axis=0)
    assert told.importance.values[0] == pytest.approx(expected, abs=2.0**-BITS)


def test_rows_without_an_explanation_are_counted_apart_and_missing_inputs_add_nothing() -> None:
    space = ImportanceSpace(NAMES.inputs, NAMES.outputs)
    asked = pa.RecordBatch.from_pylist([ROWS[0] | {"income": None}], schema=ASKED.schema)
    row = explained_row(ROWS[0]) | {"values": [0.5, float("nan"), -0.25]}
    answer = read_answer(stream([row]), asked, NAMES, 1 << 20)
    assert answer.rows.column("failure").null_count == 1
    totals = np.zeros(space.size, np.int64)
    both = (table_rows(keys(1), answer), table_rows(keys(2), failures(pa.array(["a", "b"]), "no")))
    for part in both:
        for found in space.fold_at(part, np.zeros(part.num_rows, np.int64), TIMES):
            totals[found.keys] += found.counts
    told = space.told(totals)
    assert (told.explained, told.failed) == (1, 2)
    assert told.importance is not None
    assert told.importance.values.tolist() == [[0.5, 0.0, 0.25]]


def test_kinds_of_values_are_never_mixed() -> None:
    space = ImportanceSpace(NAMES.inputs, NAMES.outputs)
    rows = [explained_row(row) for row in ROWS]
    rows[0] |= {"units": "margin", "values": [9.0, 9.0, 9.0]}
    rows[1] |= {"algorithm": "lime", "values": [7.0, 7.0, 7.0]}
    totals = np.zeros(space.size, np.int64)
    for found in space.fold_at(table_rows(keys(9), answered(rows)), np.zeros(9, np.int64), TIMES):
        totals[found.keys] += found.counts
    importance = space.told(totals).importance
    assert importance is not None
    assert (importance.algorithm, importance.margin, importance.rows) == ("shap", False, 7)
    assert importance.values.max() < 1


@pytest.mark.parametrize(
    ("prediction", "units", "classes", "expected"),
    [
        ([0.3], "probability", True, [0.3]),
        ([0.0], "margin", True, [0.5]),
        ([-2.0, 2.0], "margin", True, [1 / (1 + np.e**2), 1 / (1 + np.e**-2)]),
        ([0.0, 0.0, 0.0, 0.0], "margin", True, [0.25] * 4),
        ([7.5], "value", False, [7.5]),
    ],
)
def test_predictions_are_told_in_the_models_own_terms(
    prediction: list[float], units: str, classes: bool, expected: list[float]
) -> None:
    names = [f"o{i}" for i in range(len(prediction))]
    told = predicted({"prediction": prediction, "units": units, "outputs": names}, classes)
    assert [one["attribute_value"] for one in told] == pytest.approx(expected)


def test_tokens_of_a_text_have_the_value_of_each_output() -> None:
    parts = [{"token": "good", "position": 0, "explanation_value": [0.4, -0.4], "error": [0.1, 0.1]}]
    record = record_of(answered([explained_row(ROWS[0])])) | {
        "outputs": ["yes", "no"],
        "values": [0.4, -0.4],
        "errors": [0.01, 0.02],
        "expected": [0.5, 0.5],
        "prediction": [0.9, 0.1],
        "parts": msgspec.json.encode(parts).decode(),
    }
    told = explained(record, ["remark"], Sheet(), "stored")
    scores = [one["importance_scores"][0] for one in told["explanation"]]
    assert [score["tokens"][0]["explanation_value"] for score in scores] == [0.4, -0.4]
    assert [score["standard_error"] for score in scores] == [0.01, 0.02]
    assert (told["code_hash"], told["background_hash"]) == (CODE, BACKGROUND)


def test_a_row_that_could_not_be_explained_is_told_with_the_reason() -> None:
    record = record_of(failures(pa.array(["a"]), "predict raised KeyError"))
    with pytest.raises(Refusal, match="KeyError") as refused:
        explained(record, NAMES.inputs, Sheet(), "stored")
    assert refused.value.status == 422


FILE = ServerFile(sha256="0" * 64, bytes=1, name="x")
CODES = (CodePlan(role="explain", code_hash=CODE, files=FILE),)
EXPLAIN = ExplainPlan(background=FILE, background_hash=BACKGROUND, algorithm="shap", samples=100)
PLAN = ServerPlan(plan_hash="p", codes=CODES, explain=EXPLAIN)


def pod(state: CodeState, message: str = "", name: str = "a", code: str = CODE) -> PodReport:
    return PodReport(
        pod=name, codes=(CodeReport(role="explain", code_hash=code, state=state, message=message),)
    )


@pytest.mark.parametrize(
    ("settings", "server", "state", "said"),
    [
        ({"enabled": False}, Server(PLAN, (pod("Ready"),)), "Disabled", "no Enrichment"),
        ({}, Server(), "Pending", "waits for"),
        ({}, Server(ServerPlan(plan_hash="p", waiting_for=("a zip",))), "Pending", "waits for a zip"),
        ({}, Server(PLAN), "Training", "no pod"),
        ({}, Server(PLAN, (pod("Loading", "checking predict"),)), "Training", "checking predict"),
        ({}, Server(PLAN, (pod("Failed", "ImportError: no such module"),)), "Failed", "ImportError"),
        ({}, Server(PLAN, (pod("Ready"), pod("Failed", name="b"))), "Ready", "1 of 2 pods"),
        ({}, Server(PLAN, (pod("Ready", code="old"), pod("Failed", "bad", "b"))), "Ready", "1 of 2"),
    ],
)
def test_the_status_says_what_is_so(settings: dict, server: Server, state: str, said: str) -> None:
    report = enrichment_report(ExplainabilitySettings(**({"enabled": True} | settings)), server)
    assert report.state == state
    assert said in report.message
    assert not report.due


def test_jobs_are_bounded_and_forgotten_on_request() -> None:
    async def story() -> None:
        jobs, gate = Jobs(), asyncio.Event()

        async def work() -> dict[str, object]:
            await gate.wait()
            return {"why": 1}

        first = jobs.begin(work)
        for _ in range(99):
            jobs.begin(work)
        with pytest.raises(Refusal) as refused:
            jobs.begin(work)
        assert refused.value.status == 503
        gate.set()
        while jobs.get(first.id).status != "done":
            await asyncio.sleep(0)
        assert jobs.get(first.id).told()["result"] == {"why": 1}
        jobs.forget()
        assert "result" not in jobs.get(first.id).told()
        await asyncio.gather(*jobs._tasks)

    asyncio.run(story())


def test_images_leave_the_store_as_bytes_and_those_that_are_gone_as_missing(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"pixels")
    known = {"one": tmp_path / "one"}
    rows = pa.RecordBatch.from_pylist([{"id": "a", "scan": "one"}, {"id": "b", "scan": "lost"}])
    filled = Pictures(("scan",), known.get).filled(rows)
    assert filled.column("scan").to_pylist() == [b"pixels", None]
    assert filled.column("id").equals(rows.column("id"))


def test_an_answer_of_a_newer_server_may_have_more_columns() -> None:
    with pa.ipc.open_stream(answer_to(ASKED)) as reader:
        table = reader.read_all()
    more = table.append_column("more", pa.array([1] * 9))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, more.schema) as writer:
        writer.write_table(more)
    assert read_answer(bytes(sink.getvalue()), ASKED, NAMES, 1 << 20).rows.num_rows == 9
