"""A request for explanations: Arrow in, rows asked of the engine within the time there is, Arrow out.

A row that the user's code fails on gets a failure; its neighbours do not. Must not know sockets or children.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from modelwarden_server.explain.explanation import Explainer, Explanations, Rows
from modelwarden_server.explained import (
    ALGORITHM,
    BACKGROUND_HASH,
    CODE_HASH,
    EXPLAINED,
    ID,
    INPUTS,
    OUTPUTS,
    SAMPLES,
    SECONDS,
)
from modelwarden_server.modelserver.engines import Engines
from modelwarden_server.modelserver.supervisor import UserCodeError

MOST_ROWS: Final = 10_000
_AT_A_TIME: Final = 64
"""Rows of one call of an engine that asks the model: so much is lost when the time is over."""
_MOST_BAD_CALLS: Final = 24
_MOST_SAMPLES: Final = 100_000


class RequestError(ValueError):
    """A request that cannot be worked on, in a sentence."""


@dataclass(frozen=True, eq=False)
class Question:
    """Rows to be explained, and how."""

    ids: list[str]
    rows: Rows
    algorithm: str
    samples: int | None
    seconds: float


@dataclass(frozen=True)
class Explained:
    """An answer: an Arrow stream, and how many of its rows have no explanation."""

    content: bytes
    rows: int
    failed: int


def read_question(content: bytes, engines: Engines, seconds: float) -> Question:
    """What is asked. `seconds` if it does not say. Raises RequestError."""
    try:
        with pa.ipc.open_stream(content) as reader:
            table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"the rows are no Arrow stream ({type(error).__name__})") from None
    names = engines.contract.inputs
    absent = [name for name in (ID, *names) if name not in table.column_names]
    if absent:
        raise RequestError(f"the rows have no column {absent[0]}")
    if not 1 <= table.num_rows <= MOST_ROWS:
        raise RequestError(f"{table.num_rows} rows came: 1 to {MOST_ROWS} are explained at a time")
    told = table.schema.metadata or {}
    algorithm = told.get(ALGORITHM, engines.plan.algorithm.encode()).decode()
    if algorithm not in ("lime", "shap"):
        raise RequestError("algorithm must be lime or shap")
    samples = _number(told, SAMPLES)
    if samples is not None and not 1 <= samples <= _MOST_SAMPLES:
        raise RequestError(f"samples must be 1 to {_MOST_SAMPLES}")
    try:
        rows = engines.model.rows([table.column(name).combine_chunks() for name in names])
    except (ValueError, pa.ArrowException) as error:
        raise RequestError(f"the rows are not the model's inputs: {error}") from None
    return Question(
        ids=[str(one) for one in table.column(ID).to_pylist()],
        rows=rows,
        algorithm=algorithm,
        samples=None if samples is None else int(samples),
        seconds=min(seconds, _number(told, SECONDS) or seconds),
    )


def answer(engines: Engines, question: Question) -> Explained:
    """Explain the rows. Raises OutOfTimeError when the time was not enough for all of them: who asked may ask
    for fewer; ChildTimeoutError, ChildDiedError, ChildUnavailableError."""
    work = _Work(engines, question)
    with engines.model.within(question.seconds):
        work.run()
    return work.answered()


class _Work:
    """One request being worked on."""

    def __init__(self, engines: Engines, question: Question) -> None:
        self._engines, self._asked = engines, question
        self._explainer = engines.explainer(question.algorithm)
        self._records: list[dict[str, Any]] = [{} for _ in question.ids]
        self._bad_calls = 0

    def run(self) -> None:
        """All rows, a few at a time."""
        asked_of_arrays = self._asked.algorithm == "shap" and self._engines.fallback is not None
        size = len(self._asked.ids) if asked_of_arrays else _AT_A_TIME
        for start in range(0, len(self._asked.ids), size):
            self._explain(self._explainer, start, min(start + size, len(self._asked.ids)))

    def _explain(self, explainer: Explainer, start: int, end: int) -> None:
        self._engines.model.left()
        asked = self._asked
        try:
            found = explainer.explain(asked.rows[start:end], asked.ids[start:end], asked.samples)
        except (UserCodeError, ValueError) as error:
            self._bad_calls += 1
            if end - start == 1 or self._bad_calls > _MOST_BAD_CALLS:
                self._fail(start, end, str(error))
            else:
                middle = (start + end) // 2
                self._explain(explainer, start, middle)
                self._explain(explainer, middle, end)
        else:
            self._take(explainer, start, found)

    def _take(self, explainer: Explainer, start: int, found: Explanations) -> None:
        fallback = self._engines.fallback
        for place in range(len(found.values)):
            failure = None if found.failures is None else found.failures[place]
            if failure is None:
                self._records[start + place] = _record(found, place) | {"failure": None}
            elif fallback is not None and fallback is not explainer:
                self._explain(fallback, start + place, start + place + 1)
            else:
                self._fail(start + place, start + place + 1, failure)

    def _fail(self, start: int, end: int, message: str) -> None:
        for place in range(start, end):
            self._records[place] = {"failure": message[:500]}

    def answered(self) -> Explained:
        """The rows as Arrow."""
        for record, one in zip(self._records, self._asked.ids, strict=True):
            record |= {ID: one}
        contract = self._engines.contract
        schema = EXPLAINED.with_metadata(
            {
                INPUTS: msgspec.json.encode(contract.inputs),
                OUTPUTS: msgspec.json.encode(contract.outputs),
                CODE_HASH: self._engines.code_hash.encode(),
                BACKGROUND_HASH: self._engines.plan.background_hash.encode(),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_pylist(self._records, schema=schema))
        failed = sum(record["failure"] is not None for record in self._records)
        return Explained(sink.getvalue().to_pybytes(), len(self._records), failed)


def _record(found: Explanations, place: int) -> dict[str, Any]:
    return {
        "algorithm": "lime" if found.path.startswith("lime") else "shap",
        "path": found.path,
        "why": found.why,
        "units": found.units,
        "prediction": found.predictions[place],
        "expected": found.expected,
        "values": found.values[place].reshape(-1),
        "errors": None if found.errors is None else found.errors[place].reshape(-1),
        "model_rows": int(found.model_rows[place]),
        "parts": None if found.parts is None else found.parts[place],
        "stability": None if found.stability is None else float(found.stability[place]),
        "fit": None if found.fit is None else found.fit[place],
    }


def _number(told: Mapping[bytes, bytes], key: bytes) -> float | None:
    if key not in told:
        return None
    try:
        value = float(told[key])
    except ValueError:
        value = np.nan
    if not np.isfinite(value) or value <= 0:
        raise RequestError(f"{key.decode()} must be a positive number")
    return value
