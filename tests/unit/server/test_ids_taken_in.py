"""The index of ids answers exactly, however the ids came into it, and stays small."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwarden_server.schema.digest import Words, id_keys
from modelwarden_server.store.ids import RECENT, Known, SortedIdIndex


def digests(*values: int) -> Words:
    return np.array([[v, ~v & 0xFFFF] for v in values], dtype=np.uint64).reshape(-1, 2)


def test_an_id_is_new_then_the_same_or_another() -> None:
    index = SortedIdIndex()
    keys = id_keys(["a", "b"])
    assert index.look_up(keys, digests(1, 2)).tolist() == [Known.NEW, Known.NEW]
    index.add(keys, digests(1, 2))
    assert index.look_up(keys, digests(1, 3)).tolist() == [Known.SAME, Known.OTHER]
    assert len(index) == 2


def test_ids_are_found_in_every_run_after_many_additions_of_all_sizes() -> None:
    index = SortedIdIndex()
    sizes = [1, RECENT - 1, RECENT, 3 * RECENT, 7, 2 * RECENT, RECENT + 1, 100]
    names = [f"id-{i}" for i in range(sum(sizes))]
    keys = id_keys(names)
    values = digests(*range(len(names)))
    start = 0
    for size in sizes:
        index.add(keys[start : start + size], values[start : start + size])
        start += size
    assert len(index) == len(names)
    assert set(index.look_up(keys, values).tolist()) == {Known.SAME}
    assert set(index.look_up(keys, values[::-1].copy()).tolist()) == {Known.OTHER}
    assert set(index.look_up(id_keys([f"x{i}" for i in range(500)]), values[:500]).tolist()) == {Known.NEW}
    assert len(index._runs) <= 4
    assert index.memory <= 32 * len(names) + 300 * RECENT


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), unique=True, min_size=1), st.booleans())
def test_keys_that_share_their_first_word_are_told_apart(pairs: list[tuple[int, int]], as_run: bool) -> None:
    index = SortedIdIndex()
    keys = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    values = digests(*range(len(pairs)))
    if as_run:
        index._push(np.concatenate([keys, values], axis=1))
    else:
        index.add(keys, values)
    assert set(index.look_up(keys, values).tolist()) == {Known.SAME}
    every = np.array([(a, b) for a in range(4) for b in range(6)], dtype=np.uint64)
    known = index.look_up(every, digests(*[999] * 24))
    assert [Known.NEW if k == 0 else Known.OTHER for k in known] == [
        Known.OTHER if tuple(map(int, e)) in pairs else Known.NEW for e in every
    ]


def test_nothing_is_known_of_no_ids() -> None:
    index = SortedIdIndex()
    index.add(id_keys([]), digests())
    assert index.look_up(id_keys([]), digests()).tolist() == []
