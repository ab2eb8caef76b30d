"""Python runs this at the start of a process that has the folder on its path: it watches asyncio's loop.

A step of the loop that uses the processor for over 200 ms is reported on stderr. Processor time and not the
clock's, which on a busy machine says more about the machine than about the step.
"""

import asyncio.events
import os
import sys
import time
from pathlib import Path

LIMIT = 0.2
# A test that makes this file blocks the loop, once, for as many seconds as the file says.
BLOCK = os.environ.get("LOOP_WATCH_BLOCK")
_run = asyncio.events.Handle._run


def _watched(handle: asyncio.events.Handle) -> None:
    if BLOCK and (block := Path(BLOCK)).exists():
        seconds = float(block.read_text())
        block.unlink()
        time.sleep(seconds)
    begun = time.thread_time()
    _run(handle)
    used = time.thread_time() - begun
    if used > LIMIT:
        sys.stderr.write(f"blocked the loop for {used:.3f} s of processor time: {handle!r}\n")


asyncio.events.Handle._run = _watched  # type: ignore[method-assign]
