"""A request for explanations: what comes back for each row, and what one bad row may cost the others."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scripted_child import IDENTITY, INPUTS, WEIGHTS, ScriptedChild, explain_plan, linear, sample

from modelwarden_server.explain.explanation import Explanations
from modelwarden_server.explained import (
    ALGORITHM,
    CODE_HASH,
    EXPLAINED,
    OUTPUTS,
    SAMPLES,
    SECONDS,
)
from modelwarden_server.modelserver.engines import Engines, Model, OutOfTimeError, Wish, build, contract_of
from modelwarden_server.modelserver.explaining import RequestError, answer, read_question
from modelwarden_server.modelserver.spec import ChildDiedError, ChildSpec, UserCodeError

ROWS = np.random.default_rng(5).normal(size=(40, len(INPUTS)))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    return made(tmp_path_factory.mktemp("engines"))


def made(folder: Path, function: Callable[[np.ndarray], np.ndarray] = linear) -> Engines:
    child = ScriptedChild(ChildSpec("h", folder, folder), function)
    child.be("Ready")
    return build(child, Wish(IDENTITY, explain_plan(), sample(folder), "c1"))  # type: ignore[arg-type]


def asked(
    x: np.ndarray = ROWS, meta: dict[bytes, bytes] | None = None, names: tuple[str, ...] = INPUTS
) -> bytes:
    columns = {"id": [f"r{i}" for i in range(len(x))]} | {n: x[:, i] for i, n in enumerate(names)}
    table = pa.table(columns).replace_schema_metadata(meta or {})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def explained(engines: Engines, content: bytes, seconds: float = 30.0) -> pa.Table:
    done = answer(engines, read_question(content, engines, seconds))
    table = pa.ipc.open_stream(done.content).read_all()
    assert done.rows == table.num_rows
    assert done.failed == table.num_rows - table.column("failure").null_count
    return table


def test_each_row_has_its_values_in_the_agreed_form(engines: Engines) -> None:
    table = explained(engines, asked())
    assert table.schema.equals(EXPLAINED)
    assert table.column("id").to_pylist() == [f"r{i}" for i in range(40)]
    assert json.loads(table.schema.metadata[OUTPUTS]) == ["y"]
    assert table.schema.metadata[CODE_HASH] == b"c1"
    for row, x in zip(table.to_pylist(), ROWS, strict=True):
        assert row["prediction"] == [pytest.approx(linear(x[None])[0])]
        assert sum(row["values"]) == pytest.approx(row["prediction"][0] - row["expected"][0])
        assert (row["algorithm"], row["units"], row["failure"]) == ("shap", "value", None)


def test_the_request_may_ask_for_another_algorithm_and_other_samples(engines: Engines) -> None:
    few, more = (
        explained(engines, asked(ROWS[:2], {ALGORITHM: b"lime", SAMPLES: samples})).to_pylist()[0]
        for samples in (b"300", b"600")
    )
    assert (few["algorithm"], more["algorithm"]) == ("lime", "lime")
    assert more["model_rows"] > few["model_rows"]


def test_a_row_that_the_code_fails_on_does_not_cost_its_neighbours_theirs(tmp_path: Path) -> None:
    x = ROWS.copy()
    x[13, 0] = 1000.0

    def picky(given: np.ndarray) -> np.ndarray:
        if (given[:, 0] > 500).any():
            raise UserCodeError("ValueError: too old")
        return linear(given)

    table = explained(made(tmp_path, picky), asked(x))
    failures = table.column("failure").to_pylist()
    assert failures[13] == "ValueError: too old"
    assert [one for one in failures if one is not None] == ["ValueError: too old"]


def test_a_code_that_always_fails_is_not_asked_for_every_row(tmp_path: Path) -> None:
    engines = made(tmp_path)
    calls = []

    def broken(given: np.ndarray) -> np.ndarray:
        calls.append(len(given))
        raise UserCodeError("KeyError: 'x'")

    engines.model._child.function = broken  # type: ignore[attr-defined]
    table = explained(engines, asked(np.tile(ROWS, (10, 1))))
    assert table.column("failure").to_pylist() == ["KeyError: 'x'"] * 400
    assert len(calls) < 60


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (lambda x: np.full(len(x), np.nan), "NaN or infinity"),
        (lambda x: linear(x)[:-1], "shape"),
        (lambda x: np.array(["yes"] * len(x)), "numbers were expected"),
    ],
)
def test_answers_that_break_the_contract_are_failures_in_a_sentence(
    tmp_path: Path, answers: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    engines = made(tmp_path)
    engines.model._child.function = answers  # type: ignore[attr-defined]
    (failure,) = explained(engines, asked(ROWS[:1])).column("failure").to_pylist()
    assert said in failure


def test_a_request_that_cannot_be_done_in_its_time_is_not_done_in_part(tmp_path: Path) -> None:
    engines = made(tmp_path)
    with pytest.raises(OutOfTimeError):
        explained(engines, asked(meta={SECONDS: b"0.000001"}))


def test_a_child_that_dies_is_the_requests_end(tmp_path: Path) -> None:
    engines = made(tmp_path)

    def deadly(_: np.ndarray) -> np.ndarray:
        raise ChildDiedError("it was killed by signal 9")

    engines.model._child.function = deadly  # type: ignore[attr-defined]
    with pytest.raises(ChildDiedError):
        explained(engines, asked())


def test_rows_unlike_the_arrays_are_explained_by_asking(engines: Engines) -> None:
    class Exact:
        def explain(self, rows: np.ndarray, ids: list[str], samples: int | None = None) -> Explanations:
            n, k, d = len(rows), 1, len(INPUTS)
            return Explanations(
                values=np.zeros((n, k, d)),
                expected=np.zeros(k),
                predictions=np.zeros((n, k)),
                units="value",
                path="linear",
                why="",
                model_rows=np.zeros(n, dtype=np.int64),
                failures=tuple("not as verified" if one == "r1" else None for one in ids),
            )

    chosen = type(engines.chosen)(shap=Exact(), lime=engines.chosen.lime)
    mixed = Engines(
        engines.model, engines.contract, chosen, engines.plan, "c1", "linear", "", None, engines.chosen.shap
    )
    table = explained(mixed, asked(ROWS[:3]))
    assert table.column("path").to_pylist() == ["linear", "enumeration", "linear"]
    assert table.column("failure").to_pylist() == [None] * 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no arrow", "no Arrow stream"),
        (asked(names=("a", "b", "z")), "no column c"),
        (asked(ROWS[:0]), "0 rows"),
        (asked(meta={ALGORITHM: b"magic"}), "lime or shap"),
        (asked(meta={SAMPLES: b"-3"}), "samples must be"),
        (asked(meta={SAMPLES: b"1e9"}), "samples must be"),
        (asked(meta={SECONDS: b"soon"}), "seconds must be"),
    ],
)
def test_a_request_that_is_none_is_refused_with_the_reason(
    engines: Engines, content: bytes, said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        read_question(content, engines, 30.0)


class ReadChild(ScriptedChild):
    """A child whose estimator can be read, and that forgets it with its process."""

    read = False

    def export(self, x: np.ndarray) -> tuple[dict[str, str], list[np.ndarray]]:
        self.read = True
        return {"kind": "linear"}, [WEIGHTS]

    def encode(self, x: np.ndarray, seconds: float | None = None) -> np.ndarray:
        if not self.read:
            raise UserCodeError("nothing was exported yet")
        return x

    def crash(self) -> None:
        self.read = False
        self.status = replace(self.status, restarts=self.status.restarts + 1)


def test_a_child_that_was_started_anew_is_read_anew(tmp_path: Path) -> None:
    child = ReadChild(ChildSpec("h", tmp_path, tmp_path))
    child.be("Ready")
    model = Model(child, contract_of(IDENTITY))  # type: ignore[arg-type]
    with pytest.raises(UserCodeError):
        model.encode(ROWS)
    assert model.export(ROWS[:4]) is not None
    for _ in range(2):
        child.crash()
        assert np.array_equal(model.encode(ROWS), ROWS)
    child.read = False
    with pytest.raises(UserCodeError):
        model.encode(ROWS)
