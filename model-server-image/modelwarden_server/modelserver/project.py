"""The handler of a project: imports the module with `predict`, and has it predict. Runs in the child.

Python 3.8 and numpy alone; other libraries are only met as what the user's code returns. Must not judge what
predict gives: contract.py, on the other side, does.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from modelwarden_server.modelserver.exporter import Exporter

if TYPE_CHECKING:
    Answer = tuple[dict[str, Any], list[Any]]


_NUMBERS = "biuf"


class ProjectError(RuntimeError):
    """What is wrong with the project, in a sentence with what to do."""


def load(settings: dict[str, Any], project: str) -> dict[str, Any]:
    """Import `settings["import_path"]`, a module with `predict(x)` (or `module:function`)."""
    return Project(settings["import_path"], project).handler()


class Project:
    """An imported project."""

    def __init__(self, import_path: str, folder: str) -> None:
        module, _, function = import_path.partition(":")
        self._folder = folder
        self._module = _imported(module, folder)
        predict: Any = getattr(self._module, function or "predict", None)
        if not callable(predict):
            raise ProjectError(f"{module} has no function {function or 'predict'}(x)")
        self._predict = _late(predict)
        self._texts_by_rows: bool | None = None
        self._exporter = Exporter(self._modules, self._asked)

    def handler(self) -> dict[str, Any]:
        """The functions that can be called from outside."""
        return {
            "loaded": self.loaded,
            "predict": self.predict,
            "encode": self.encode,
            "export": self.export,
            "load_image": self.load_image,
        }

    def loaded(self, header: dict[str, Any], buffers: list[Any]) -> Answer:  # noqa: ARG002
        """What is told of the code in the status."""
        return {
            "numpy": np.__version__,
            "load_image": callable(getattr(self._module, "load_image", None)),
        }, []

    def predict(self, header: dict[str, Any], buffers: list[Any]) -> Answer:  # noqa: ARG002
        """predict(x) as an array."""
        return {}, [array_of(self._asked(buffers[0]))]

    def encode(self, header: dict[str, Any], buffers: list[Any]) -> Answer:  # noqa: ARG002
        """The matrix that reaches the estimator while predict(x) runs."""
        return {}, [self._exporter.encode(buffers[0])]

    def export(self, header: dict[str, Any], buffers: list[Any]) -> Answer:  # noqa: ARG002
        """The estimator behind predict as plain arrays."""
        return self._exporter.export(buffers[0] if buffers else None)

    def load_image(self, header: dict[str, Any], buffers: list[Any]) -> Answer:  # noqa: ARG002
        """The array of an image file's bytes, as the project's own load_image(path) makes it."""
        own = getattr(self._module, "load_image", None)
        with tempfile.NamedTemporaryFile(suffix=_suffix(buffers[0])) as file:
            file.write(buffers[0])
            file.flush()
            return {}, [array_of(own(file.name) if callable(own) else _pillow(file.name))]

    def _asked(self, rows: Any) -> Any:
        """predict(x). A single column of texts is what the contract has; vectorisers want a list of texts:
        the column is tried first, and whichever way worked is kept."""
        texts = rows.dtype == object and rows.ndim == 2 and rows.shape[1] == 1
        if not texts or not all(isinstance(value, str) for value in rows[:, 0]):
            return self._predict(rows)
        if self._texts_by_rows is None:
            try:
                answer = self._predict(rows)
            except (AttributeError, TypeError, ValueError, IndexError):
                answer = self._predict(rows[:, 0])
                self._texts_by_rows = False
            else:
                self._texts_by_rows = True
            return answer
        return self._predict(rows if self._texts_by_rows else rows[:, 0])

    def _modules(self) -> list[Any]:
        """The project's own modules, the one with predict first."""
        inside = self._folder + os.sep
        others = [
            module
            for module in list(sys.modules.values())
            if module is not self._module and str(getattr(module, "__file__", "") or "").startswith(inside)
        ]
        return [self._module, *others]


def array_of(answer: Any) -> Any:
    """What user code returned, as an array of numbers, or of objects where it is none: lists, frames, series,
    sparse matrices and tensors are made arrays."""
    for way in ("toarray", "to_numpy"):
        if not isinstance(answer, np.ndarray) and callable(getattr(answer, way, None)):
            answer = getattr(answer, way)()
    if callable(getattr(answer, "detach", None)):
        answer = answer.detach().cpu().numpy()
    array = np.asarray(answer)
    if array.dtype.kind in _NUMBERS or array.dtype.kind in "US":
        return array
    if array.dtype.kind == "O":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError):
            return array
    raise ProjectError(f"it returned an array of type {array.dtype}: numbers were expected")


def _late(predict: Any) -> Any:
    """`predict = model.predict_proba` was bound when the module was imported; asked for anew at each call,
    the exporter can listen at the model."""
    owner, name = getattr(predict, "__self__", None), getattr(predict, "__name__", "")
    if owner is None or not callable(getattr(owner, name, None)):
        return predict
    return lambda rows: getattr(owner, name)(rows)


def _imported(module: str, folder: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name in (module, top) and not _is_there(folder, top):
            raise ProjectError(
                f"there is no {module.replace('.', '/')}.py at the root of the project"
            ) from None
        missing = str(error.name).partition(".")[0]
        if not _is_there(folder, missing):
            raise ProjectError(f"No module named {missing!r}: add its package to the requirements") from error
        raise


def _is_there(folder: str, module: str) -> bool:
    place = os.path.join(folder, module)  # noqa: PTH118
    return os.path.exists(place + ".py") or os.path.isdir(place)  # noqa: PTH110, PTH112


def _suffix(content: bytes) -> str:
    """Readers of images go by the name's ending, some of them."""
    for start, suffix in ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"GIF8", ".gif"), (b"II*", ".tiff")):
        if content.startswith(start):
            return suffix
    return ".tiff" if content.startswith(b"MM\x00*") else ""


def _pillow(path: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ProjectError("there is neither load_image(path) nor Pillow in the requirements") from None
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
