"""What comes from the user's process is arrays, and checked wholly before a row follows them."""

import numpy as np
import pytest
from fitted_models import numbers
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from modelwarden_server.explain.exported import LINEAR_ARRAYS, TREE_ARRAYS, of_wire, to_wire
from modelwarden_server.modelserver.exporter import exported


@pytest.fixture(scope="module")
def forest():
    rows, label = numbers()
    return exported(RandomForestClassifier(3, max_depth=3, random_state=0).fit(rows, label))


@pytest.fixture(scope="module")
def linear():
    rows, label = numbers()
    return exported(LogisticRegression().fit(rows, label))


def test_a_model_is_the_same_after_the_wire(forest, linear):
    for header, arrays in (forest, linear):
        again, sent = to_wire(of_wire(header, arrays))
        assert again == header
        for one, other in zip(sent, arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def changed(name, change):
    def wrong(header, arrays):
        place = TREE_ARRAYS.index(name)
        array = arrays[place].copy()
        arrays[place] = change(array)
        return header, arrays

    return wrong


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda header, arrays: ({**header, "kind": "svm"}, arrays), "kind"),
        (lambda header, arrays: ({**header, "link": "probit"}, arrays), "link"),
        (lambda header, arrays: ({**header, "link": "logit"}, arrays), "outputs"),
        (lambda header, arrays: ({**header, "scale": float("nan")}, arrays), "scale"),
        (lambda header, arrays: (header, arrays[:-1]), "arrays"),
        (changed("left", put(0, 0)), "children"),
        (changed("left", put(0, 10**6)), "children"),
        (changed("left", put(0, -1)), "children"),
        (changed("right", lambda a: np.where(a == a.max(), a.max() - 1, a)), "one node's child"),
        (changed("feature", put(0, 99)), "feature"),
        (changed("feature", put(0, -2)), "feature"),
        (changed("threshold", put(0, np.nan)), "threshold"),
        (changed("threshold", lambda a: a[:-1]), "threshold"),
        (changed("value", put(0, np.inf)), "value"),
        (changed("value", lambda a: a[:, :1]), "value"),
        (changed("roots", put(0, 1)), "roots"),
        (changed("outputs", lambda a: a[:-1]), "roots and outputs"),
        (changed("outputs", put(0, 7)), "value|outputs"),
        (changed("players", lambda a: a[:0]), "players"),
        (changed("players", lambda a: a.astype(np.float64)), "players"),
        (changed("left", lambda a: a.astype(np.int64) + 2**40), "32 bits"),
        (changed("value", lambda a: a.astype(object)), "value"),
    ],
)  # fmt: skip
def test_arrays_that_no_tree_has_are_refused_by_name(forest, wrong, why):
    header, arrays = wrong(dict(forest[0]), list(forest[1]))
    with pytest.raises(ValueError, match=why):
        of_wire(header, arrays)


@pytest.mark.parametrize("name", LINEAR_ARRAYS)
def test_a_linear_model_of_other_shapes_is_refused(linear, name):
    header, arrays = linear
    short = [
        array[..., :-1] if one == name else array for one, array in zip(LINEAR_ARRAYS, arrays, strict=True)
    ]
    with pytest.raises(ValueError, match=r"coef|intercept|players|outputs"):
        of_wire(header, short)


def test_a_chain_deeper_than_bits_go_is_refused():
    depth = 65
    inner = np.arange(0, 2 * depth, 2)
    nodes = 2 * depth + 1
    left, right = np.full(nodes, -1), np.full(nodes, -1)
    left[inner], right[inner] = inner + 1, inner + 2
    feature = np.full(nodes, -1)
    feature[inner] = 0
    arrays = [
        left, right, feature, np.zeros(nodes), np.zeros(nodes, dtype=bool), np.ones((nodes, 1)),
        np.array([0]), np.array([-1]), np.zeros(1), np.array([-1]),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="deeper"):
        of_wire({"kind": "trees", "link": "identity"}, arrays)
