"""What a project's predict is asked with, and what becomes of whatever it returns."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from modelwarden_server.modelserver.project import Project, ProjectError, array_of

COUNT = iter(range(1000))
Make = Callable[[str], Project]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def made(text: str) -> Project:
        names.append(f"entrypoint_of_test_{next(COUNT)}")
        (tmp_path / f"{names[-1]}.py").write_text(text)
        return Project(names[-1], str(tmp_path))

    yield made
    for name in names:
        sys.modules.pop(name, None)


def predicted(project: Project, rows: Any) -> np.ndarray:
    return project.handler()["predict"]({}, [rows])[1][0]


class Tensor:
    """As torch's: numbers only after detach, on another device."""

    def detach(self) -> "Tensor":
        return self

    cpu = detach

    def numpy(self) -> np.ndarray:
        return np.array([1.0, 2.0])


RETURNED = {
    "a list": ([1, 2], [1, 2]),
    "lists": ([[1.0, 2.0]], [[1.0, 2.0]]),
    "a frame": (pd.DataFrame({"a": [1.0, 2.0]}), [[1.0], [2.0]]),
    "a series": (pd.Series([1.0, 2.0], dtype="Float64"), [1.0, 2.0]),
    "a sparse matrix": (sparse.csr_matrix([[0.0, 2.0]]), [[0.0, 2.0]]),
    "a tensor": (Tensor(), [1.0, 2.0]),
    "objects that are numbers": (np.array([1, 2.5], dtype=object), [1.0, 2.5]),
    "texts": (["a", "b"], ["a", "b"]),
    "a number": (3.0, 3.0),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("answer", "expected"), RETURNED.values(), ids=RETURNED.keys())
def test_what_predict_returns_becomes_an_array(answer: Any, expected: Any) -> None:
    found = array_of(answer).tolist()
    assert found == expected or (expected is None and np.isnan(found))


def test_times_are_no_predictions() -> None:
    with pytest.raises(ProjectError, match="numbers were expected"):
        array_of(np.array(["2020"], dtype="M8[Y]"))


TEXTS = np.array([["good one"], ["bad"]], dtype=object)
COLUMN = "def predict(x):\n    assert x.ndim == 2\n    return [len(row[0]) for row in x]"
LIST = "def predict(x):\n    return [len(text.split()) for text in x]"


@pytest.mark.parametrize(("text", "expected"), [(COLUMN, [8, 3]), (LIST, [2, 1])])
def test_a_text_comes_as_a_column_or_as_a_list_whichever_works(
    make: Make, text: str, expected: list[int]
) -> None:
    project = make(text)
    assert [predicted(project, TEXTS).tolist() for _ in range(2)] == [expected] * 2


def test_an_error_of_a_predict_that_knows_texts_is_its_own(make: Make) -> None:
    project = make("def predict(x):\n    raise KeyError(x.shape)")
    with pytest.raises(KeyError, match=r"\(2, 1\)"):
        predicted(project, TEXTS)


def test_a_method_of_a_model_can_be_predict(make: Make) -> None:
    project = make(
        "import numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
        "model = LinearRegression().fit(np.eye(3), [1, 2, 3])\npredict = model.predict"
    )
    header, arrays = project.handler()["export"]({}, [np.eye(3)])
    assert (header["estimator"], len(arrays)) == ("LinearRegression", 3)


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 2), (255, 0, 0)).save(content, "PNG")
    return content.getvalue()


def test_images_are_read_by_the_project_or_by_pillow(make: Make) -> None:
    plain = make("def predict(x): return x")
    image = plain.handler()["load_image"]({}, [png()])[1][0]
    assert (image.shape, image[0, 0].tolist()) == ((2, 4, 3), [255, 0, 0])
    own = make("def predict(x): return x\ndef load_image(path):\n    return [[path.endswith('.png'), 1]]")
    assert own.handler()["load_image"]({}, [png()])[1][0].tolist() == [[1, 1]]
    assert own.handler()["loaded"]({}, [])[0]["load_image"]


def test_a_function_can_be_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "scoring_of_test.py").write_text("def score(x): return x[:, 0]")
    project = Project("scoring_of_test:score", str(tmp_path))
    assert predicted(project, np.eye(2)).tolist() == [1.0, 0.0]
    with pytest.raises(ProjectError, match=r"scoring_of_test has no function predict\(x\)"):
        Project("scoring_of_test", str(tmp_path))
