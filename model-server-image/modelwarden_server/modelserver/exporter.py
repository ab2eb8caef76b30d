"""Looks for the fitted estimator behind the user's predict, and sends it as plain arrays.

Runs in the child, Python 3.8 and numpy alone: estimators of scikit-learn, xgboost and lightgbm are met as
objects that the user's code holds. Finds and reads only, believes nothing to be so: verify.py, on the other
side, asks predict. Must not know what is done with the arrays. How each kind is read stands in exported_*.py.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from modelwarden_server.modelserver import exported_boosters, exported_sklearn
from modelwarden_server.modelserver.exported_arrays import NotExportableError

if TYPE_CHECKING:
    Exported = tuple[dict[str, Any], list[Any]]


_ASKED = ("predict_proba", "predict", "decision_function", "predict_log_proba", "inplace_predict")
_CONTAINERS = (list, tuple, dict, set)
_DEEPEST = 6
_MOST_OBJECTS = 5_000
_MOST_CELLS = 200_000_000


class Exporter:
    """Of one project: `modules` gives its modules, `predict` is its function."""

    def __init__(self, modules: Callable[[], list[Any]], predict: Callable[[Any], Any]) -> None:
        self._modules, self._predict = modules, predict
        self._chosen: Any | None = None

    def export(self, rows: Any | None) -> Exported:
        """Header and arrays of the estimator that predict asks for these rows (None: of the only one there
        is), or a header with `why` and no arrays."""
        found = list(estimators(self._modules()))
        if not found:
            return {"why": "no fitted estimator that can be read was found among the project's globals"}, []
        try:
            if rows is None:
                if len(found) > 1:
                    raise NotExportableError("the project has several estimators")
                self._chosen = found[0]
            else:
                self._chosen = self._asked(found, rows)
            return exported(self._chosen)
        except NotExportableError as error:
            return {"why": str(error)}, []

    def encode(self, rows: Any) -> Any:
        """(n, e) float64: what reaches the exported estimator while predict(rows) runs."""
        if self._chosen is None:
            raise NotExportableError("nothing was exported yet")
        return self._matrices([self._chosen], rows)[0]

    def _asked(self, found: list[Any], rows: Any) -> Any:
        matrices = self._matrices(found, rows)
        used = [estimator for estimator, matrix in zip(found, matrices) if matrix is not None]  # noqa: B905
        if not used:
            raise NotExportableError("predict asks none of the estimators that were found for all rows")
        if len(used) > 1:
            names = ", ".join(type(estimator).__name__ for estimator in used)
            raise NotExportableError(f"predict asks several estimators: {names}")
        return used[0]

    def _matrices(self, found: list[Any], rows: Any) -> list[Any]:
        """Of each estimator the matrix it was given, all of its rows once; None where there is none."""
        seen: list[list[tuple[str, Any]]] = [[] for _ in found]
        undo: list[Callable[[], None]] = []
        try:
            for estimator, calls in zip(found, seen):  # noqa: B905
                depth = [0]
                for name in _ASKED:
                    undo.extend(_intercept(estimator, name, calls, depth))
            self._predict(np.array(rows))
        finally:
            for back in reversed(undo):
                back()
        return [_joined(calls, len(rows)) for calls in seen]


def exported(estimator: Any) -> Exported:
    """Header and arrays of one estimator. Raises NotExportableError with the reason."""
    top = type(estimator).__module__.partition(".")[0]
    for base in type(estimator).__mro__:
        top = base.__module__.partition(".")[0]
        if top in ("xgboost", "lightgbm"):
            return exported_boosters.exported(estimator, top)
        if top == "sklearn":
            return exported_sklearn.exported(estimator)
    raise NotExportableError(f"{top} is not read")


def estimators(modules: list[Any]) -> Iterator[Any]:
    """The last estimators found in the modules' globals: in containers, in objects of the project's own, at
    the end of pipelines and searches. Each once."""
    own = {getattr(module, "__name__", "") for module in modules}
    waiting = [
        (value, 0) for module in modules for name, value in list(vars(module).items()) if name[:2] != "__"
    ]
    known: set[int] = set()
    while waiting and len(known) < _MOST_OBJECTS:
        value, depth = waiting.pop(0)
        if id(value) in known or isinstance(value, (str, bytes, int, float, type(None), np.ndarray, type)):
            continue
        known.add(id(value))
        inner = _final(value)
        if inner is not value:
            waiting.append((inner, depth))
        elif readable(value):
            yield value
        elif depth < _DEEPEST:
            waiting.extend((part, depth + 1) for part in _parts(value, own))


def readable(value: Any) -> bool:
    """Whether there is a reader for the estimator's kind."""
    return exported_sklearn.readable(value) or exported_boosters.readable(value)


def _final(value: Any) -> Any:
    """What is at the end of a pipeline, or the best of a search; the value itself for all else."""
    kinds = {base.__name__ for base in type(value).__mro__ if base.__module__.startswith("sklearn.")}
    if "Pipeline" in kinds and getattr(value, "steps", None):
        return value.steps[-1][1]
    if "BaseSearchCV" in kinds or kinds & {"TunedThresholdClassifierCV", "FixedThresholdClassifier"}:
        return getattr(value, "best_estimator_", getattr(value, "estimator_", value))
    return value


def _parts(value: Any, own: set[str]) -> list[Any]:
    """What a value holds: containers, objects of the project's own classes (a wrapper with the model in it),
    functions with a closure, methods."""
    if isinstance(value, dict):
        return list(value.values())[:1000]
    if isinstance(value, _CONTAINERS):
        return list(value)[:1000]
    parts: list[Any] = []
    if type(value).__module__ in own:
        parts.extend(getattr(value, "__dict__", {}).values())
    if isinstance(value, types.MethodType):
        parts.append(value.__self__)
    cells = getattr(value, "__closure__", None)
    if isinstance(cells, tuple):
        parts.extend(cell.cell_contents for cell in cells if _filled(cell))
    return parts


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _intercept(
    estimator: Any, name: str, calls: list[tuple[str, Any]], depth: list[int]
) -> Iterator[Callable[[], None]]:
    """Put a listener before one method of one object, if it can be put there; gives how it is taken away."""
    own = getattr(estimator, "__dict__", None)
    try:
        method = getattr(estimator, name)
    except Exception:  # noqa: BLE001 - a property of somebody's that raises whatever it likes
        return
    if own is None or name in own or not callable(method):
        return

    def listener(*arguments: Any, **named: Any) -> Any:
        # predict asks predict_proba itself, in many estimators: only what comes from outside counts.
        if not depth[0]:
            given = arguments[0] if arguments else named.get("X", named.get("data"))
            calls.append((name, given))
        depth[0] += 1
        try:
            return method(*arguments, **named)
        finally:
            depth[0] -= 1

    try:
        own[name] = listener
    except TypeError:
        return
    yield lambda: own.pop(name, None)


def _joined(calls: list[tuple[str, Any]], rows: int) -> Any:
    """The matrix of a call with all rows, or of calls that come to them; None where it was not so."""
    try:
        matrices = [matrix_of(given) for _, given in calls]
    except (TypeError, ValueError, NotExportableError):
        return None
    whole = [matrix for matrix in matrices if len(matrix) == rows]
    if whole:
        return whole[-1] if all(np.array_equal(whole[0], m, equal_nan=True) for m in whole) else None
    if matrices and sum(map(len, matrices)) == rows and len({matrix.shape[1] for matrix in matrices}) == 1:
        return np.concatenate(matrices)
    return None


def matrix_of(given: Any) -> Any:
    """(n, e) float64 of what an estimator was given: arrays, frames, sparse matrices, xgboost's DMatrix,
    lists."""
    if callable(getattr(given, "get_data", None)) and callable(getattr(given, "num_col", None)):
        given = _dense(given.get_data())
    elif callable(getattr(given, "toarray", None)):
        if given.shape[0] * given.shape[1] > _MOST_CELLS:
            raise NotExportableError("what reaches the estimator is too large when it is not sparse")
        given = given.toarray()
    elif callable(getattr(given, "to_numpy", None)):
        given = given.to_numpy()
    matrix = np.asarray(given, dtype=np.float64)
    if matrix.ndim != 2:
        raise NotExportableError("what reaches the estimator is no matrix")
    return matrix


def _dense(sparse: Any) -> Any:
    """xgboost holds what is there; what is not is missing, not 0."""
    dense = np.full(sparse.shape, np.nan)
    if sparse.shape[0] * sparse.shape[1] > _MOST_CELLS:
        raise NotExportableError("what reaches the estimator is too large")
    rows = np.repeat(np.arange(sparse.shape[0]), np.diff(sparse.indptr))
    dense[rows, sparse.indices] = sparse.data
    return dense
