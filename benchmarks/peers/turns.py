"""One side of a comparison, in a process of its own: prepares once, then does one round of work at each line
on its standard input. Standard library only: it runs in every peer's environment.

Says on the original standard output, one JSON object a line: that it is ready, then for each round the
units done and the CPU and wall seconds. Whatever the work prints goes to standard error.
"""

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

Round = Callable[[], "int | Mapping[str, float]"]
"""Does the work of one round; returns the units done, or figures of which one is `units`."""


def serve(prepare: Callable[[float], "Round | tuple[Round, Callable[[], None]]"], package: str) -> None:
    """Prepare at the scale that the command line names, then do rounds until standard input ends.

    With a pair, the second of it runs before each round and is not measured.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    prepared = prepare(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
    work, before = prepared if isinstance(prepared, tuple) else (prepared, _nothing)
    _say(answers, {"version": f"{package} {version(package)}"})
    for _ in sys.stdin:
        before()
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        done = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        figures = dict(done) if isinstance(done, Mapping) else {"units": done}
        _say(answers, figures | {"cpu": cpu, "wall": wall})


def _nothing() -> None:
    return


def _say(answers: "object", figures: Mapping[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(figures), file=answers, flush=True)  # type: ignore[call-overload]
