"""What x is for predict, and what its answers mean: each shape, and each way to be wrong."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelwarden_server.modelserver.contract import (
    Contract,
    ContractError,
    arguments_of,
    difference,
    predictions_of,
    rows_of,
)


def contract(outputs: int, positive: int | None = None, **told: bool) -> Contract:
    names = tuple(f"p{place}" for place in range(outputs))
    return Contract(("a",), ("FLOAT",), names, told.get("classes", True), positive, told.get("sums", False))


REGRESSION = contract(1, classes=False)
BINARY_ONE = contract(1, 0)
BINARY_TWO = contract(2, 1, sums=True)
BINARY_FIRST = contract(2, 0, sums=True)
THREE = contract(3, sums=True)
PAIRS = [[0.75, 0.25], [0.5, 0.5]]
TAKEN = {
    "values": (REGRESSION, [3.0, -4.0], [[3.0], [-4.0]]),
    "integers": (REGRESSION, [3, -4], [[3.0], [-4.0]]),
    "a column of values": (REGRESSION, [[3.0], [-4.0]], [[3.0], [-4.0]]),
    "one probability": (BINARY_ONE, [0.25, 0.5], [[0.25], [0.5]]),
    "the positive one of two": (BINARY_ONE, PAIRS, [[0.25], [0.5]]),
    "two of two": (BINARY_TWO, PAIRS, PAIRS),
    "one for two": (BINARY_TWO, [0.25, 0.5], PAIRS),
    "one for two, as a column": (BINARY_TWO, [[0.25], [0.5]], PAIRS),
    "one for two, the positive first": (BINARY_FIRST, [0.75, 0.5], PAIRS),
    "three classes": (THREE, [[1, 0, 0], [0, 0, 1]], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "rounded probabilities": (THREE, [[0.33, 0.33, 0.33], [0.2, 0.3, 0.5]], [[0.33] * 3, [0.2, 0.3, 0.5]]),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "answer", "expected"), TAKEN.values(), ids=TAKEN.keys())
def test_an_answer_becomes_outputs(wanted: Contract, answer: list, expected: list) -> None:
    found = predictions_of(np.array(answer), 2, wanted)
    assert found.dtype == np.float64
    assert found.tolist() == expected


REFUSED = {
    "texts": (REGRESSION, np.array(["a", "b"]), "numbers were expected"),
    "objects": (REGRESSION, np.array([None, {}], dtype=object), "numbers were expected"),
    "complex numbers": (REGRESSION, np.array([1j, 2j]), "numbers were expected"),
    "times": (REGRESSION, np.array(["2020", "2021"], dtype="M8[Y]"), "numbers were expected"),
    "fewer rows": (REGRESSION, np.zeros(1), r"shape \(1,\) for 2 rows"),
    "more rows": (THREE, np.zeros((3, 3)), r"shape \(3, 3\) for 2 rows"),
    "a single number": (REGRESSION, np.array(1.0), "for 2 rows"),
    "a cube": (THREE, np.zeros((2, 3, 1)), "for 2 rows"),
    "not a number": (REGRESSION, np.array([1.0, math.nan]), "NaN or infinity for 1 of 2 rows"),
    "infinity": (REGRESSION, np.array([math.inf, -math.inf]), "for 2 of 2 rows"),
    "classes for probabilities": (THREE, np.array([2, 0]), "predict_proba"),
    "too many": (REGRESSION, np.zeros((2, 2)), "gave 2 values a row: 1 were expected"),
    "too few": (THREE, np.zeros((2, 2)), "3 were expected, for the predicted attributes p0, p1, p2"),
    "margins": (BINARY_ONE, np.array([-3.0, 0.4]), "below 0 or above 1 for 1 of 2 rows"),
    "percents": (BINARY_TWO, np.array([30.0, 40.0]), "below 0 or above 1"),
    "not of all classes": (THREE, np.full((2, 3), 0.2), "do not sum up to 1 for 2 of 2 rows"),
}


@pytest.mark.parametrize(("wanted", "answer", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_answer_that_is_none_is_refused_without_its_values(
    wanted: Contract, answer: np.ndarray, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        predictions_of(answer, 2, wanted)


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)), st.integers(1, 4))
def test_whatever_is_answered_becomes_finite_outputs_or_a_sentence(answer: np.ndarray, rows: int) -> None:
    for wanted in (REGRESSION, BINARY_ONE, BINARY_TWO, THREE):
        try:
            found = predictions_of(answer, rows, wanted)
        except ContractError:
            continue
        assert found.shape == (rows, len(wanted.outputs))
        assert np.isfinite(found).all()


def mixed(**kinds: str) -> Contract:
    return Contract(tuple(kinds), tuple(kinds.values()), ("p",), probabilities=False)  # type: ignore[arg-type]


def test_numbers_become_a_matrix_with_nan_where_they_are_missing() -> None:
    columns = [pa.array([1, None]), pa.array([0.5, 2.0]), pa.array([True, None])]
    rows = rows_of(columns, mixed(a="INTEGER", b="FLOAT", c="BOOLEAN"))
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, [[1, 0.5, 1], [np.nan, 2.0, np.nan]])


def test_with_a_text_among_them_values_stay_as_the_frame_had_them() -> None:
    columns = [pa.array(["x", None]), pa.array([1, None]), pa.array([0.5, None]), pa.array([True, False])]
    rows = rows_of(columns, mixed(a="STRING", b="INTEGER", c="FLOAT", d="BOOLEAN"))
    assert rows[0].tolist() == ["x", 1, 0.5, True]
    assert [type(value) for value in rows[0]] == [str, int, float, bool]
    assert rows[1, 0] is None
    assert math.isnan(rows[1, 1])
    assert math.isnan(rows[1, 2])


def test_dictionaries_and_lists_of_the_table_become_plain_values() -> None:
    columns = [pa.array(["x", "y"]).dictionary_encode(), pa.array([[1, 2], None])]
    assert rows_of(columns, mixed(a="STRING", b="OTHER")).tolist() == [["x", "[1, 2]"], ["y", None]]


INTEGERS = mixed(a="INTEGER", b="INTEGER")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [([[1.0, 2.0]], "i"), ([[1.0, 2.5]], "f"), ([[1.0, math.nan]], "f"), ([[1e300, 1.0]], "f")],
)
def test_integers_are_integers_where_all_of_them_are(rows: list, kind: str) -> None:
    x = arguments_of(np.array(rows), INTEGERS)
    assert x.dtype.kind == kind
    np.testing.assert_array_equal(x, rows)


def test_images_are_stacked() -> None:
    cells = np.empty((2, 1), dtype=object)
    cells[0, 0], cells[1, 0] = np.zeros((3, 4, 3), dtype=np.uint8), np.ones((3, 4, 3), dtype=np.uint8)
    assert arguments_of(cells, mixed(a="OTHER")).shape == (2, 3, 4, 3)
    cells[1, 0] = np.ones((5, 4, 3), dtype=np.uint8)
    with pytest.raises(ContractError, match="several sizes"):
        arguments_of(cells, mixed(a="OTHER"))


def test_the_difference_is_told_where_a_prediction_is_known() -> None:
    assert difference(np.array([[0.5], [0.9]]), np.array([[0.4], [np.nan]])) == pytest.approx(0.1)
    assert difference(np.array([[0.5]]), np.array([[np.nan]])) is None
