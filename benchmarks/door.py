"""Rows over HTTP to a durable answer: how many a second one core takes, and how long an answer takes."""

import time

from benchmarks.cores import clients_elsewhere, for_store
from benchmarks.harness import Item, Setting
from benchmarks.load import Pace, paced, saturate
from benchmarks.loopback import LoopbackStore
from benchmarks.results import Result

_ROWS_AT_ONCE = 1000
_CONNECTIONS = 4
_PACE = Pace(rows=10, requests=100, seconds=20)


def _measured(setting: Setting) -> list[Result]:
    with LoopbackStore(for_store()) as store, clients_elsewhere():
        setting.tell("as fast as it answers")
        warm = saturate(store, "warm", _ROWS_AT_ONCE, _CONNECTIONS, max(0.5, 3 * setting.scale))
        store.stored(warm.rows)
        cpu, started = store.cpu_seconds(), time.perf_counter()
        full = saturate(store, "full", _ROWS_AT_ONCE, _CONNECTIONS, max(1, 20 * setting.scale))
        store.stored(warm.rows + full.rows)
        cpu, stored = store.cpu_seconds() - cpu, full.rows / (time.perf_counter() - started)
        setting.tell(f"{full.rows:,} rows in {full.seconds:.1f} s, {cpu:.1f} CPU s; now {_PACE.requests:g}/s")
        calm = paced(store, "calm", Pace(_PACE.rows, _PACE.requests, max(2, _PACE.seconds * setting.scale)))
    return [
        Result("http", "requests of 1000 rows x 31 values, 4 connections: acknowledged", "rows/s on one core",
               full.rows / full.seconds),
        Result("http-cpu", "the same by the store's CPU time, its writer included", "rows/CPU s",
               full.rows / cpu),
        Result("http-stored", "the same until all are in the table", "rows/s on one core", stored),
        Result("http-p50", "100 requests of 10 rows a second: half are answered within", "ms",
               1000 * calm.quantile(0.5)),
        Result("http-p99", "... and 99 of 100 within", "ms", 1000 * calm.quantile(0.99)),
    ]  # fmt: skip


ITEM = Item(
    "http",
    how=(
        "a store process on one core, the clients on the others. An answer comes when the rows are"
        " parsed, validated, known to be new, and synced to the log. At the pace of 100 requests a second,"
        " a request's time begins when it was due. There is no peer: none answers after a sync."
    ),
    measure=_measured,
)
