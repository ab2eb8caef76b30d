"""Work over files in threads: in order, bounded, and the sum does not depend on how the rows are split."""

import itertools
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_rooms import SCHEMA, STORED, inferences, people, profile_of

from modelwarden_server.analysis.code_space import CodeSpace
from modelwarden_server.analysis.partials import merge
from modelwarden_server.query.executor import ThreadExecutor
from modelwarden_server.query.folding import TIMES

ROWS = inferences(people(600, seed=4), np.random.default_rng(1).uniform(0, 5 * 86_400, 600))
SPACE = CodeSpace.of(profile_of(people(1000)), STORED)
WHOLE = merge(SPACE.fold(ROWS, TIMES))


@given(st.lists(st.integers(0, 600), max_size=12), st.integers(1, 3), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_any_split_of_the_files_gives_the_same_integers(cuts, threads, random):
    ends = sorted({0, 600, *cuts})
    pieces = [ROWS.slice(low, high - low) for low, high in itertools.pairwise(ends)]
    random.shuffle(pieces)
    executor = ThreadExecutor(threads, threads + 1)
    parts = executor.map(lambda piece: merge(SPACE.fold(piece, TIMES)), pieces)
    assert merge(parts).same_as(WHOLE)
    assert SCHEMA.inference_table.equals(ROWS.schema)


def test_results_come_in_order_and_only_so_many_wait():
    begun, gate = [], threading.Event()

    def work(n: int) -> int:
        begun.append(n)
        if n:
            gate.wait(10)
        return n * n

    found = ThreadExecutor(2, 3).map(work, range(50))
    assert next(found) == 0
    assert len(begun) <= 4
    gate.set()
    assert list(found) == [n * n for n in range(1, 50)]


def test_what_fails_is_raised_and_ends_the_work():
    done = []

    def work(n: int) -> int:
        if n == 3:
            raise OSError("gone")
        done.append(n)
        return n

    with pytest.raises(OSError, match="gone"):
        list(ThreadExecutor(1, 2).map(work, range(1000)))
    assert len(done) < 10
    assert pa.array(done).null_count == 0
