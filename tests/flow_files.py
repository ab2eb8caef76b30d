"""Folders of flows for tests: small models that are fitted here, and functions as a user writes them."""

import io
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

IMAGE_FUNCTIONS = """
def pre_process(data, files):
    import numpy as np
    from PIL import Image
    labelled = {d: Image.open(f) for d, f in zip(data, files)}
    return labelled


def brightness(labelled):
    import numpy as np
    return np.array([[np.asarray(image.convert("L")).mean() / 255.0] for image in labelled.values()])


def named(result, data, files):
    return [
        {"image": name, "bright": float(p[1]), "file": file.name}
        for name, p, file in zip(data, result, files)
    ]
"""


def rows(count: int = 200, columns: int = 3, seed: int = 1) -> tuple[Any, Any]:
    """Numbers, and a class that follows from them."""
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(count, columns))
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).astype(int)


def save(folder: Path, name: str, model: object) -> None:
    """Pickle a model into the folder."""
    (folder / name).write_bytes(pickle.dumps(model))


@cache
def classifier() -> LogisticRegression:
    """A fitted classifier of three numbers. As the others not to be changed: they are fitted once."""
    return LogisticRegression().fit(*rows())


@cache
def regressor() -> LinearRegression:
    """A fitted regression of three numbers."""
    x, _ = rows()
    return LinearRegression().fit(x, x @ np.array([2.0, -1.0, 0.5]) + 3)


@cache
def scaler() -> StandardScaler:
    """A fitted preprocessor of three numbers."""
    return StandardScaler().fit(rows()[0])


def image_model(folder: Path, functions: Any) -> None:
    """The documented example: pre opens the files, the model takes what pre returned. `functions` is the
    imported module of `folder`/functions.py."""
    dark, bright = np.linspace(0, 0.4, 20)[:, None], np.linspace(0.6, 1, 20)[:, None]
    fitted = LogisticRegression(C=100.0).fit(np.vstack([dark, bright]), [0] * 20 + [1] * 20)
    save(folder, "model.pkl", make_pipeline(FunctionTransformer(functions.brightness), fitted))


def picture(grey: int) -> bytes:
    """A PNG of one shade, 0 (black) to 255."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (8, 8), grey).save(out, "PNG")
    return out.getvalue()
