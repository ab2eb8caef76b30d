"""One core for the store, the others for those who send to it. With one core, all share it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def for_store() -> frozenset[int]:
    """The store's core."""
    return frozenset({max(os.sched_getaffinity(0))})


@contextmanager
def clients_elsewhere() -> Iterator[None]:
    """While in the block, this process keeps off the store's core, as far as there are others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, (before - for_store()) or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
