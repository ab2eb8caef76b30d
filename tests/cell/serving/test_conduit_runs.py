"""Conduit.load and run: the bundle in a process of its own, as the cluster runs it."""

import io
from pathlib import Path

import flow_files
import numpy as np
import pytest
from flow_functions import breaks, named, pre_process
from PIL import Image

from modelwarden.client.conduit import Conduit, ConduitError, FlowFailedError, model_type


@pytest.fixture
def base(tmp_path: Path) -> Path:
    dark, bright = np.linspace(0, 0.4, 20)[:, None], np.linspace(0.6, 1, 20)[:, None]
    model = flow_files.LogisticRegression(C=100.0).fit(np.vstack([dark, bright]), [0] * 20 + [1] * 20)
    folder = tmp_path / "base"
    folder.mkdir()
    flow_files.save(folder, "model.pkl", model)
    return folder


def test_the_documented_example_runs_in_a_process_that_has_nothing_of_the_callers(base):
    flow = [(model_type.SKLEARN_CLASSIFIER, "model.pkl", {"pre": pre_process, "post": named})]
    with Conduit("pictures", "an api key", flow) as conduit:
        conduit.load(base)
        path = base / "night.png"
        path.write_bytes(flow_files.picture(5))
        with path.open("rb") as opened, Image.open(io.BytesIO(flow_files.picture(250))) as image:
            night, day, again = conduit.run(["a", "b", "c"], [opened, image, path])
    assert (night["label"], day["label"], again) == ("dark", "bright", night)


def test_a_flow_that_fails_or_cannot_be_loaded_says_why(base):
    with Conduit("m", (model_type.SKLEARN_CLASSIFIER, "model.pkl", {"pre": breaks})) as conduit:
        with pytest.raises(ConduitError, match="load"):
            conduit.run([1])
        conduit.load(base)
        with pytest.raises(FlowFailedError, match="not today"):
            conduit.run([1])
    with Conduit("m") as conduit:
        with pytest.raises(ConduitError, match="no stages"):
            conduit.load(base)
        conduit.add_model("SKLEARN_PREPROCESSOR", "model.pkl")
        with pytest.raises(ConduitError, match="has no transform"):
            conduit.load(base)
