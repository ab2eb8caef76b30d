"""Artefacts: the same content gives the same bytes, and nothing but numbers ever comes out of bytes."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelwarden_server.analysis.artefact import Artefact, pack, unpack

ARRAYS = hnp.arrays(
    dtype=st.sampled_from([np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)


@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.dictionaries(NAMES, st.integers(), max_size=3))
def test_an_artefact_comes_back_as_it_was_and_with_the_same_bytes(
    arrays: dict[str, np.ndarray], manifest: dict[str, int]
) -> None:
    content = pack(Artefact("anomaly", manifest, arrays))
    found = unpack(content)
    assert (found.kind, found.manifest, set(found.arrays)) == ("anomaly", manifest, set(arrays))
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert pack(found) == content


@given(st.binary(max_size=300))
def test_any_bytes_are_an_artefact_or_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="artefact"):
        unpack(content)


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    return out.getvalue()


GOOD = b'{"kind": "anomaly", "manifest": {}}'
HUGE = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(118)
)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            _zip({"manifest.json": GOOD, "a.npy": _npy(np.array([object()]))}), id="pickled objects"
        ),
        pytest.param(_zip({"manifest.json": GOOD, "a.pkl": pickle.dumps(1)}), id="a pickle"),
        pytest.param(_zip({"manifest.json": GOOD}, zipfile.ZIP_DEFLATED), id="compressed"),
        pytest.param(_zip({"manifest.json": GOOD, "a.npy": HUGE}), id="a shape beyond its data"),
        pytest.param(_zip({"a.npy": _npy(np.ones(3)), "manifest.json": GOOD}), id="the manifest not first"),
        pytest.param(_zip({"manifest.json": b"[]"}), id="a manifest that is a list"),
        pytest.param(_zip({"manifest.json": b"\xff"}), id="a manifest that is no text"),
    ],
)
def test_what_packing_does_not_make_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no artefact"):
        unpack(content)


def test_more_bytes_than_allowed_are_refused_before_they_are_read() -> None:
    with pytest.raises(ValueError, match="at most 10 are taken"):
        unpack(pack(Artefact("anomaly", {})), most_bytes=10)
