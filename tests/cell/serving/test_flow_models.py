"""Model types whose libraries are large: XGBoost and ONNX, each with a real model that is made here."""

import json
import warnings
from pathlib import Path

import flow_files
import numpy as np
import pytest

from modelwarden_server.modelserver.flow.faults import FlowError
from modelwarden_server.modelserver.flow.run import Flow, load_flow

X, Y = flow_files.rows()
FEW = X[:5]


def ask(flow: Flow, data: object) -> list:
    _, (content,) = flow.answer({}, [json.dumps(data).encode()])
    return json.loads(content)


@pytest.mark.parametrize("file", ["model.json", "model.ubj", "model.pkl"])
def test_xgboost_models_are_served_from_their_own_files_and_from_pickles(tmp_path, file):
    import xgboost

    classifier = xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1).fit(X, Y)
    regressor = xgboost.XGBRegressor(n_estimators=5, max_depth=2, n_jobs=1).fit(X, X[:, 0])
    for kind, model, expected in (
        ("XGBOOST_CLASSIFIER", classifier, classifier.predict_proba(FEW)),
        ("XGBOOST_REGRESSOR", regressor, regressor.predict(FEW)),
    ):
        if file.endswith(".pkl"):
            flow_files.save(tmp_path, file, model)
        else:
            model.save_model(tmp_path / file)
        flow = load_flow(str(tmp_path), [{"modelType": kind, "file": file}])
        np.testing.assert_allclose(ask(flow, FEW.tolist()), expected, rtol=1e-6)


def onnx_file(folder: Path, model: object, **options: object) -> None:
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = to_onnx(model, X[:1].astype(np.float32), **options).SerializeToString()
    (folder / "model.onnx").write_bytes(content)


def test_an_onnx_model_with_one_output_gives_its_array(tmp_path):
    model = flow_files.regressor()
    onnx_file(tmp_path, model)
    flow = load_flow(str(tmp_path), [{"modelType": "ONNX", "file": "model.onnx"}])
    np.testing.assert_allclose(np.ravel(ask(flow, FEW.tolist())), model.predict(FEW), rtol=1e-4)


@pytest.mark.parametrize("zipmap", [True, False])
def test_an_onnx_model_with_several_outputs_gives_each_by_its_name(tmp_path, zipmap):
    model = flow_files.classifier()
    onnx_file(tmp_path, model, options={"zipmap": zipmap})
    flow = load_flow(str(tmp_path), [{"modelType": "ONNX", "file": "model.onnx"}])
    found = ask(flow, FEW.tolist())
    name = "output_probability" if zipmap else "probabilities"
    positive = [one[name]["1" if zipmap else 1] for one in found]
    np.testing.assert_allclose(positive, model.predict_proba(FEW)[:, 1], rtol=1e-4)
    assert [one["output_label" if zipmap else "label"] for one in found] == model.predict(FEW).tolist()


def test_an_onnx_model_after_a_preprocessor_takes_its_array(tmp_path):
    scaler = flow_files.scaler()
    flow_files.save(tmp_path, "scaler.pkl", scaler)
    model = flow_files.regressor()
    onnx_file(tmp_path, model)
    stages = [
        {"modelType": "SKLEARN_PREPROCESSOR", "file": "scaler.pkl"},
        {"modelType": "ONNX", "file": "model.onnx"},
    ]
    expected = model.predict(scaler.transform(FEW))
    np.testing.assert_allclose(
        np.ravel(ask(load_flow(str(tmp_path), stages), FEW.tolist())), expected, rtol=1e-3
    )


def test_a_file_that_is_no_onnx_model_is_said_so(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(FlowError, match=r"stage 1 \(ONNX\): loading failed"):
        load_flow(str(tmp_path), [{"modelType": "ONNX", "file": "model.onnx"}])
