"""The census model's user project: what it predicts, and how it becomes YAML."""

import base64
import importlib.util
import io
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa

from examples.census import bundle, data, train

MODEL = train.LinearModel(
    intercept=-0.5,
    weights={
        name: {"0": 0.25, "1": -0.125, "20": 0.5, "35": 1.0} if name == "AGEP" else {"1": 0.75, "2": -0.5}
        for name in data.INPUTS
    },
)
CONSTRAINTS = Path("constraints.txt").read_text().splitlines()


def _entrypoint(folder: Path) -> ModuleType:
    zipfile.ZipFile(io.BytesIO(bundle.archive(MODEL))).extractall(folder)
    spec = importlib.util.spec_from_file_location("census_entrypoint", folder / "entrypoint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_project_predicts_what_the_model_predicts(tmp_path: Path) -> None:
    columns = {name: ["1", "2", "9", "1"] for name in data.INPUTS} | {"AGEP": [3, 24, 36, 39]}
    people = pa.table(columns)
    x = np.array([columns[name] for name in data.INPUTS], dtype=object).T
    predicted = _entrypoint(tmp_path).predict(x)
    np.testing.assert_allclose(predicted, MODEL.probability(people), atol=1e-6)


def test_the_same_model_gives_the_same_archive() -> None:
    assert bundle.archive(MODEL) == bundle.archive(MODEL)


def test_the_yaml_holds_the_archive_and_an_enrichment_that_names_it() -> None:
    config, enrichment = bundle.manifests(MODEL)
    source = enrichment["spec"]["explainability"]["project"]["configMap"]
    assert config["metadata"]["name"] == source["name"]
    assert base64.b64decode(config["binaryData"][source["key"]]) == bundle.archive(MODEL)


def test_the_requirements_are_the_versions_that_train_it() -> None:
    wanted = (bundle.PROJECT / "requirements.txt").read_text().split()
    assert set(wanted) <= set(CONSTRAINTS)
