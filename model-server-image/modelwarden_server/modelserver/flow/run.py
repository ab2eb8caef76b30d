"""A flow: stages that run one after the other, each on what the one before returned.

    data ── pre ──► model ── post ──► pre ──► model ── post ──► result

Must not talk to anybody: what calls it gives bytes and gets bytes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...fieldpaths import place, point_of
from .faults import FlowError, told
from .functions import Files, UserFunction
from .models import load_model
from .values import OpenedFile, as_list, result_json

MOST_POINTS = 100_000


class Stage:
    """One loaded stage."""

    def __init__(self, folder: str, number: int, stage: Mapping[str, Any]) -> None:
        """Load it. `stage` is a FlowStage as JSON. Raises FlowError, and whatever the user's code raises."""
        self.name = f"stage {number + 1} ({stage['modelType']})"
        self._folder = folder
        pre, post = stage.get("pre"), stage.get("post")
        self.pre = UserFunction(pre, "pre", 2) if pre else None
        self.post = UserFunction(post, "post", 3) if post else None
        pipeline = stage.get("pipeline")
        path = _inside(folder, pipeline["model"] if pipeline else stage["file"])
        self.model: Callable[[Any], Any] = load_model(stage["modelType"], path, pipeline)

    def run(self, data: Any, files: Files) -> Any:
        """What the stage makes of it. Raises FlowError."""
        prepared = data if self.pre is None else self._step(self.pre.name, self.pre, data, files)
        result = self._step("the model", self.model, prepared)
        if self.post is None:
            return result
        return self._step(self.post.name, self.post, result, data, files)

    def _step(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except FlowError as error:
            raise FlowError(f"{self.name}: {error.sentence}", error.fault) from None
        except Exception as error:
            raise told(f"{self.name}: {what}", error, self._folder) from error


class Flow:
    """All stages, loaded. One call at a time."""

    def __init__(self, stages: Sequence[Stage], fields: Sequence[str], outputs: Sequence[str]) -> None:
        self.stages = stages
        self._fields, self._outputs = fields, outputs

    @property
    def takes_files(self) -> bool:
        """Whether anything of it looks at files."""
        return any(
            (stage.pre is not None and stage.pre.takes > 1)
            or (stage.post is not None and stage.post.takes > 2)
            for stage in self.stages
        )

    def run(self, data: Any, files: Files) -> list[Any]:
        """The results, plain, one for each prediction. Raises FlowError."""
        if files and not self.takes_files:
            raise FlowError("no stage takes files: give the flow a pre function with two arguments", "data")
        value = data
        for stage in self.stages:
            value = stage.run(value, files)
        if self.stages and self.stages[-1].post is None and isinstance(value, dict):
            value = _by_point(value)
        return as_list(value)

    def answer(self, header: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[dict[str, Any], list[bytes]]:
        """Answer a question in the form of predictwire: buffers are the JSON of the data points and then the
        files, which header["files"] names. Raises FlowError.

        The answer has `count` and `seconds`, and the JSON of the results.
        """
        data = _points(buffers[0])
        named = header.get("files", [])
        files = Files(
            OpenedFile(content, str(one.get("name", "")), str(one.get("contentType", "")))
            for one, content in zip(named, buffers[1:])  # noqa: B905 - Python 3.8 has no strict
        )
        begun = time.perf_counter()
        items = self.run(data, files)
        seconds = time.perf_counter() - begun
        return {"count": len(items), "seconds": seconds}, [result_json(items)]

    def predict(self, x: Any) -> Any:
        """Rows of the model's inputs in, an array of its outputs out: what is explained."""
        import numpy as np

        points = [point_of(row, self._fields) for row in x.tolist()]
        items = self.run(points, Files())
        if self._outputs:
            items = [[place(item, path) for path in self._outputs] for item in items]
        return np.asarray(items, dtype=np.float64)


def load_flow(
    folder: str,
    stages: Sequence[Mapping[str, Any]],
    fields: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Flow:
    """The flow whose files are in `folder`, which is on the path of imports already.

    `fields` are the places of the model's inputs in a data point, `outputs` of its predictions in a result:
    only `predict` needs them. Raises FlowError with a sentence.
    """
    loaded = []
    for number, stage in enumerate(stages):
        name = f"stage {number + 1} ({stage['modelType']})"
        try:
            loaded.append(Stage(folder, number, stage))
        except FlowError as error:
            raise FlowError(f"{name}: {error.sentence}") from None
        except ImportError as error:
            raise FlowError(f"{name} cannot be loaded: {error}: {_remedy(error)}") from error
        except Exception as error:
            raise told(f"{name}: loading", error, folder) from error
    return Flow(loaded, fields, outputs)


def _remedy(error: ImportError) -> str:
    # How the loader of shared libraries says that it got no memory.
    if "failed to map segment" in str(error) or "cannot allocate memory" in str(error).lower():
        return "it takes more memory than the model server has (spec.serving.memory)"
    return "put the package into requirements.txt"


def _inside(folder: str, path: str) -> str:
    """The path of a file among the files. Raises FlowError for one elsewhere."""
    root = os.path.realpath(folder)
    found = os.path.realpath(os.path.join(root, path))  # noqa: PTH118 - paths are plain texts in a child
    if found != root and not found.startswith(root + os.sep):
        raise FlowError(f"the file {path} is outside of the model's files")
    return found


def _points(content: Any) -> list[Any]:
    try:
        data = json.loads(bytes(content))
    except ValueError as error:
        raise FlowError(f"the data is not JSON: {error}", "data") from None
    if not isinstance(data, list):
        raise FlowError("the data must be a JSON list of data points", "data")
    if not data:
        raise FlowError("there is no data point", "data")
    if len(data) > MOST_POINTS:
        raise FlowError(f"there are more than {MOST_POINTS} data points: send several requests", "data")
    return data


def _by_point(outputs: Mapping[Any, Any]) -> Any:
    """Several outputs of a model (ONNX), each with an item a data point, as an object a data point."""
    columns = {str(name): as_list(value) for name, value in outputs.items()}
    if len({len(column) for column in columns.values()}) != 1:
        return columns
    return [dict(zip(columns, row)) for row in zip(*columns.values())]  # noqa: B905
