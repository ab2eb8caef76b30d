"""Model types: how each file is loaded and called. One function a type; nothing is imported before its type
is asked for.

Must not know what comes before or after a model.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

from .faults import FlowError
from .values import table


def load_model(kind: str, path: str, pipeline: dict[str, Any] | None) -> Callable[[Any], Any]:
    """What runs the model in the file or folder `path`. Raises FlowError, and what the libraries raise."""
    if kind not in _LOADERS:
        raise FlowError(f"there is no model type {kind}: it must be one of {', '.join(sorted(_LOADERS))}")
    if not os.path.exists(path):  # noqa: PTH110 - paths are plain texts in a child
        raise FlowError(f"there is no file {os.path.basename(path)} among the model's files")  # noqa: PTH119
    return _LOADERS[kind](path, pipeline or {})


def _unpickled(path: str) -> Any:
    """joblib reads its own files and plain pickles; it comes with scikit-learn."""
    try:
        import joblib
    except ImportError:
        with open(path, "rb") as file:  # noqa: PTH123
            return pickle.load(file)  # noqa: S301 - the user's own file, in the child that has nothing
    return joblib.load(path)


def _calling(model: Any, method: str, kind: str, prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if getattr(model, method, None) is None:
        raise FlowError(
            f"the model of the type {type(model).__name__} has no {method}, which {kind} needs:"
            " choose another modelType"
        )
    # Looked up at each call: what reads the model for explanations listens there (exporter.py).
    return lambda data: getattr(model, method)(prepare(data))


def _sklearn(method: str, kind: str) -> Callable[[str, dict[str, Any]], Callable[[Any], Any]]:
    def load(path: str, _pipeline: dict[str, Any]) -> Callable[[Any], Any]:
        model = _unpickled(path)
        names = getattr(model, "feature_names_in_", None)
        columns = None if names is None else [str(name) for name in names]
        return _calling(model, method, kind, lambda data: table(data, columns))

    return load


def _xgboost(wrapper: str, method: str, kind: str) -> Callable[[str, dict[str, Any]], Callable[[Any], Any]]:
    def load(path: str, _pipeline: dict[str, Any]) -> Callable[[Any], Any]:
        if path.endswith((".json", ".ubj")):
            import xgboost

            model = getattr(xgboost, wrapper)()
            model.load_model(path)
        else:
            model = _unpickled(path)
        names = getattr(model, "feature_names_in_", None)
        columns = None if names is None else [str(name) for name in names]
        return _calling(model, method, kind, lambda data: table(data, columns))

    return load


def _onnx(path: str, _pipeline: dict[str, Any]) -> Callable[[Any], Any]:
    """One output is the result; of several each by its name. A list feeds the only input, an object feeds
    inputs by name.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Spinning threads burn the pod's processor between requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]

    def call(data: Any) -> Any:
        found = session.run(None, _feeds(data, inputs))
        if len(outputs) == 1:
            return found[0]
        return dict(zip(outputs, found))  # noqa: B905 - Python 3.8 has no strict

    return call


_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def _feeds(data: Any, inputs: Any) -> dict[str, Any]:
    import numpy as np

    if isinstance(data, list) and data and isinstance(data[0], dict):
        given = {one.name: [[point.get(one.name)] for point in data] for one in inputs}
    elif isinstance(data, dict):
        given = data
    elif len(inputs) == 1:
        given = {inputs[0].name: data}
    else:
        names = ", ".join(one.name for one in inputs)
        raise FlowError(
            f"the model has several inputs ({names}): let pre return an object with these", "data"
        )
    missing = [one.name for one in inputs if one.name not in given]
    if missing:
        raise FlowError(f"the model's input {missing[0]} is not in the data", "data")
    return {one.name: np.asarray(given[one.name], dtype=_ONNX_TYPES.get(one.type)) for one in inputs}


def _torch(path: str, _pipeline: dict[str, Any]) -> Callable[[Any], Any]:
    """Lists of numbers become a tensor of the kind of the model's weights: in JSON 5 and 5.0 are one number.
    Only a model that looks things up (embeddings) is given whole numbers as such.
    """
    import torch

    model = _torch_module(path)
    parts = [str(getattr(part, "original_name", type(part).__name__)) for part in model.modules()]
    looks_up = any(name.startswith("Embedding") for name in parts)
    kind = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)

    def call(data: Any) -> Any:
        if not isinstance(data, (dict, torch.Tensor)):
            data = torch.as_tensor(table(data))
            if data.is_floating_point() or not looks_up:
                data = data.to(kind)
        with torch.no_grad():
            return model(data)

    return call


def _torch_module(path: str) -> Any:
    """To be asked: TorchScript, an exported program (.pt2), or a whole module as torch.save, joblib or
    cloudpickle wrote it.
    """
    import zipfile

    import torch

    if path.endswith(".pt2"):  # as it was exported: it has no other mode
        return torch.export.load(path).module()
    if not zipfile.is_zipfile(path):
        model = _unpickled(path)
    else:
        with zipfile.ZipFile(path) as archive:
            script = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if script:
            model = torch.jit.load(path, map_location="cpu")
        else:
            model = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(model, torch.nn.Module):
        raise FlowError(
            f"the file holds a {type(model).__name__}, not a module: save the whole model"
            " (torch.jit.script(model).save(file), or torch.save(model, file)), not its state_dict"
        )
    return model.eval()


def _spacy(path: str, _pipeline: dict[str, Any]) -> Callable[[Any], Any]:
    import spacy

    language = spacy.load(path)

    def call(data: Any) -> Any:
        if isinstance(data, str):
            return language(data)
        return list(language.pipe(data))

    return call


def _huggingface(path: str, pipeline: dict[str, Any]) -> Callable[[Any], Any]:
    # The child has no network: without these the library tries, and waits.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    import transformers

    run: Any = transformers.pipeline(pipeline["task"], model=path)
    return lambda data: run(data)


_LOADERS: dict[str, Callable[[str, dict[str, Any]], Callable[[Any], Any]]] = {
    "SKLEARN": _sklearn("predict", "SKLEARN"),
    "SKLEARN_CLASSIFIER": _sklearn("predict_proba", "SKLEARN_CLASSIFIER"),
    "SKLEARN_PREPROCESSOR": _sklearn("transform", "SKLEARN_PREPROCESSOR"),
    "XGBOOST_REGRESSOR": _xgboost("XGBRegressor", "predict", "XGBOOST_REGRESSOR"),
    "XGBOOST_CLASSIFIER": _xgboost("XGBClassifier", "predict_proba", "XGBOOST_CLASSIFIER"),
    "ONNX": _onnx,
    "TORCH": _torch,
    "SPACY": _spacy,
    "HUGGINGFACE_PIPELINE": _huggingface,
}
