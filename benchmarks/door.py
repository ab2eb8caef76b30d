"""Rows over HTTP to a durable answer: how many a second one core takes, and how long an answer takes."""

import time
from pathlib import Path

from benchmarks.cores import clients_elsewhere, for_store
from benchmarks.harness import Item, Setting
from benchmarks.load import Pace, paced, saturate
from benchmarks.loopback import LoopbackStore
from benchmarks.results import Result
from modelwarden_server.schema.native import SWITCH, extension
from testbed.errors import SetupError
from testbed.native import unpacked
from testbed.progress import SilentReporter

_ROWS_AT_ONCE = 1000
_CONNECTIONS = 4
_PACE = Pace(rows=10, requests=100, seconds=20)


def _measured(setting: Setting) -> list[Result]:
    setting.tell("pure Python")
    found = _figures(setting, "http", "parsed in pure Python", None)
    try:
        packages = None if extension({}) else unpacked(SilentReporter())
    except SetupError as error:
        setting.tell(f"the compiled parser is left out: {error}")
        return found
    setting.tell("with the compiled parser")
    return found + _figures(setting, "http-compiled", "by the compiled parser", packages)


def _figures(setting: Setting, name: str, how: str, packages: Path | None) -> list[Result]:
    environment = {SWITCH: "off"} if name == "http" else {}
    with LoopbackStore(for_store(), packages, environment) as store, clients_elsewhere():
        warm = saturate(store, "warm", _ROWS_AT_ONCE, _CONNECTIONS, max(0.5, 3 * setting.scale))
        store.stored(warm.rows)
        cpu, started = store.cpu_seconds(), time.perf_counter()
        full = saturate(store, "full", _ROWS_AT_ONCE, _CONNECTIONS, max(1, 20 * setting.scale))
        store.stored(warm.rows + full.rows)
        cpu, stored = store.cpu_seconds() - cpu, full.rows / (time.perf_counter() - started)
        setting.tell(f"{full.rows:,} rows in {full.seconds:.1f} s, {cpu:.1f} CPU s; now {_PACE.requests:g}/s")
        calm = paced(store, "calm", Pace(_PACE.rows, _PACE.requests, max(2, _PACE.seconds * setting.scale)))
    what = f"requests of 1000 rows x 31 values, {how}, 4 connections: acknowledged"
    half, most = 1000 * calm.quantile(0.5), 1000 * calm.quantile(0.99)
    return [
        Result(name, what, "rows/s on one core", full.rows / full.seconds),
        Result(f"{name}-stored", "... until all are in the table", "rows/s on one core", stored),
        Result(
            f"{name}-cpu", "... by CPU time, the writer's included", "rows/CPU s", full.rows / max(cpu, 0.01)
        ),
        Result(f"{name}-p50", "100 requests of 10 rows a second: half are answered within", "ms", half),
        Result(f"{name}-p99", "... and 99 of 100 within", "ms", most),
    ]


ITEM = Item(
    "http",
    how=(
        "a store process on one core, the clients on the others. An answer comes when the rows are"
        " parsed, validated, known to be new, and synced to the log. At the pace of 100 requests a second,"
        " a request's time begins when it was due. There is no peer: none answers after a sync."
    ),
    measure=_measured,
)
