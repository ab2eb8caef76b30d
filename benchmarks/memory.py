"""The store's memory while rows come in and questions are asked, against its default limit."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

from benchmarks import wide_model
from benchmarks.harness import Item, Setting
from benchmarks.load import Pace, paced
from benchmarks.loopback import LoopbackStore
from benchmarks.results import Bound, Result
from benchmarks.workers import BenchError, Threads

LIMIT_MEBIBYTES = 768
"""Three quarters of the default limit: what the rest of a cell does comes on top."""
_REFERENCE_ROWS = 100_000
_REQUESTS = 50
_ASK_EVERY = 1.0
_REACHED = 0.95


@dataclass(frozen=True)
class _Rate:
    """A load of so many rows a second."""

    rows: int

    def measure(self, setting: Setting) -> list[Result]:
        pace = Pace(rows=self.rows // _REQUESTS, requests=_REQUESTS, seconds=setting.seconds)
        stop = threading.Event()
        with LoopbackStore(Threads.all().cores) as store, ThreadPoolExecutor(1) as asking:
            store.compare_with(wide_model.reference(setting.scaled(_REFERENCE_ROWS, least=2000)))
            setting.tell(f"{self.rows} rows/s for {setting.seconds:g} s, a question every second")
            questions = asking.submit(_ask, store, stop)
            try:
                sent = paced(store, "load", pace)
            finally:
                stop.set()
            asked = questions.result()
            store.stored(sent.rows)
            peak = store.peak_mebibytes()
        name = f"memory-{self.rows}"
        reached = sent.rows / sent.seconds
        setting.tell(
            f"{sent.rows:,} rows stored, {asked} questions answered, {sent.put_off} requests put off"
        )
        what = f"peak resident memory at {self.rows} rows/s of 31 values over {setting.seconds:g} s"
        return [
            Result(name, what, "MiB", peak, target=LIMIT_MEBIBYTES, bound=Bound.OURS_AT_MOST),
            Result(f"{name}-rate", "... rows that were acknowledged meanwhile", "rows/s", reached,
                   target=_REACHED * self.rows, bound=Bound.OURS_AT_LEAST),
        ]  # fmt: skip

    def item(self) -> Item:
        how = (
            f"{_REQUESTS} requests of {self.rows // _REQUESTS} rows a second; every second, in turn, the"
            " drift of all inputs from partials, of one by a filter over the rows, and a score by SQL. The"
            " peak is the kernel's VmHWM: files that are mapped count. With MODELWARDEN_LONG=1 ten minutes"
            " instead of one."
        )
        return Item(f"memory-{self.rows}", how, self.measure, _LIMITS)


_LIMITS = (
    "the libraries take some 250 MiB before the first row; the rest is partials in memory and batches on"
    " their way into parquet."
)


def _ask(store: LoopbackStore, stop: threading.Event) -> int:
    """Ask until told to stop; how many questions were answered. Raises BenchError if one is not."""
    asked = 0
    with store.connect() as connection:
        for path, question in cycle(_questions(store)):
            if stop.wait(_ASK_EVERY):
                break
            status, body = connection.ask("POST", path, json.dumps(question).encode())
            if status != 200:
                raise BenchError(f"a question was answered {status}: {body[:300].decode(errors='replace')}")
            asked += 1
    return asked


def _questions(store: LoopbackStore) -> list[tuple[str, dict[str, object]]]:
    base = {"source": "reference"}
    every = [*wide_model.FLOATS, *wide_model.INTEGERS, *wide_model.TEXTS]
    some = [{"property": "text_0", "comparator": "eq", "value": "value-1"}]
    half = [{"property": "float_0", "comparator": "gt", "value": 0}]
    whole, part = {"source": "inference"}, {"source": "inference", "filter": some}
    return [
        (store.drift, {"properties": every, "metric": "PSI", "base": base, "target": whole}),
        (store.drift, {"properties": ["float_0"], "metric": "KLDivergence", "base": base, "target": part}),
        (store.query, {"select": [{"function": "rmse", "parameters": {}}], "filter": half}),
    ]


ITEMS = tuple(_Rate(rows).item() for rows in (500, 5000))
