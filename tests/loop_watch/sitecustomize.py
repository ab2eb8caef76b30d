"""Python runs this at the start of a process that has the folder on its path: it watches asyncio's loop.

A step of the loop that uses the processor for over 200 ms is reported on stderr. Processor time and not the
clock's, which on a busy machine says more about the machine than about the step; for the same reason the
limit grows with what a fixed piece of work takes at that moment.
"""

import asyncio.events
import os
import sys
import time
from pathlib import Path

LIMIT = 0.2
# Seconds of processor time that `_yardstick` takes on a machine that has nothing else to do.
YARDSTICK = 0.015
# A test that makes this file blocks the loop for as long as the file is there.
BLOCK = os.environ.get("LOOP_WATCH_BLOCK")
_run = asyncio.events.Handle._run


def _watched(handle: asyncio.events.Handle) -> None:
    while BLOCK and Path(BLOCK).exists():
        time.sleep(0.05)
    begun = time.thread_time()
    _run(handle)
    used = time.thread_time() - begun
    if used > LIMIT and used > LIMIT * _slowness():
        sys.stderr.write(f"blocked the loop for {used:.3f} s of processor time: {handle!r}\n")


def _slowness() -> float:
    """How many times as much processor time as usual a piece of work takes just now, at least 1: neighbours
    on the same core, and what a host takes from its guests, count as ours.
    """
    begun, total = time.thread_time(), 0
    for number in range(200_000):
        total += number * number % 7
    return max(1.0, (time.thread_time() - begun) / YARDSTICK)


asyncio.events.Handle._run = _watched  # type: ignore[method-assign]
