"""From sending an inference to the first window that has it, while others keep coming."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from benchmarks import wide_model
from benchmarks.cores import clients_elsewhere, for_store
from benchmarks.harness import Item, Setting
from benchmarks.load import Pace, Sent, paced, post
from benchmarks.loopback import Connection, LoopbackStore
from benchmarks.results import Result
from benchmarks.workers import BenchError

_REFERENCE_ROWS = 20_000
_PROBES = 300
_EVERY = 0.2
_BACKGROUND = Pace(rows=10, requests=50, seconds=3600)
_FIRST_DAY = datetime(2020, 1, 1, 12, tzinfo=UTC)
_PATIENCE = 120.0


def _measured(setting: Setting) -> list[Result]:
    probes = setting.scaled(_PROBES, least=10)
    with LoopbackStore(for_store()) as store, clients_elsewhere(), ThreadPoolExecutor(1) as background:
        store.compare_with(wide_model.reference(setting.scaled(_REFERENCE_ROWS, least=2000)))
        stop = threading.Event()
        load = background.submit(paced, store, "load", _BACKGROUND, stop)
        setting.tell(f"{probes} rows, one by one, each asked for until a window has it")
        try:
            with store.connect() as connection:
                seen = _probed(store, connection, probes)
        finally:
            stop.set()
        rows = load.result().rows
        store.stored(rows + probes)
    return [
        Result("visible", "from sending one row to a window that has it: 99 of 100 within", "ms",
               1000 * seen.quantile(0.99)),
        Result("visible-p50", "... half of them within", "ms", 1000 * seen.quantile(0.5)),
    ]  # fmt: skip


def _probed(store: LoopbackStore, connection: Connection, probes: int) -> Sent:
    """Rows of days that have no other row: a window has the row as soon as the day is in the answer."""
    seen, bodies = Sent(), wide_model.Bodies("probe")
    for number in range(probes):
        day = _FIRST_DAY + timedelta(days=number)
        body = bodies.of(1, at=day.timestamp())
        started = time.perf_counter()
        while not post(connection, store.inferences, body, 1):
            time.sleep(0.01)
        while not _in_window(store, connection, day):
            if time.perf_counter() - started > _PATIENCE:
                raise BenchError(f"a row is in no window {_PATIENCE:g} s after it was acknowledged")
        seen.note(1, time.perf_counter() - started)
        time.sleep(_EVERY)
    return seen


def _in_window(store: LoopbackStore, connection: Connection, day: datetime) -> bool:
    start = day.replace(hour=0)
    conditions = [
        {"property": "inference_timestamp", "comparator": "gte", "value": start.isoformat()},
        {
            "property": "inference_timestamp",
            "comparator": "lt",
            "value": (start + timedelta(days=1)).isoformat(),
        },
    ]
    question = {
        "properties": [*wide_model.FLOATS, *wide_model.INTEGERS, *wide_model.TEXTS],
        "metric": "PSI",
        "rollup": "day",
        "base": {"source": "reference"},
        "target": {"source": "inference", "filter": conditions},
    }
    status, body = connection.ask("POST", store.drift, json.dumps(question).encode())
    if status != 200:
        raise BenchError(f"the question was answered {status}: {body[:300].decode(errors='replace')}")
    answer = json.loads(body)
    if answer["computed_from"] != "partials":
        raise BenchError(f"the answer comes from {answer['computed_from']}, not from partials")
    return len(answer["query_result"]) == 1


ITEM = Item(
    "visible",
    how=(
        "while 500 rows a second come in, one row for a day of its own is sent, and then the drift of all"
        " inputs on that day is asked until the answer has it. The time is from before the row is sent to"
        " the end of that answer. An answer waits until what was acknowledged before is in the table and"
        " in the partials."
    ),
    measure=_measured,
)
