"""Flows: stages in order, functions by arity, files, what a client is told of his data and of the code."""

import importlib
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import flow_files
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from modelwarden_server.modelserver.flow import handler
from modelwarden_server.modelserver.flow.faults import FlowError
from modelwarden_server.modelserver.flow.run import Flow, load_flow

Written = Callable[[str], str]
CLASSIFIER = {"modelType": "SKLEARN_CLASSIFIER", "file": "model.pkl"}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Writes a module of the user's into the flow's folder, as a child sees it; gives its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(source: str) -> str:
        name = f"user_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("user_"):
            del sys.modules[name]


def ask(flow: Flow, data: object, *files: tuple[str, bytes]) -> list:
    header, (content,) = flow.answer(
        {"files": [{"name": name} for name, _ in files]},
        [json.dumps(data).encode(), *(content for _, content in files)],
    )
    found = json.loads(content)
    assert header["count"] == len(found)
    assert header["seconds"] >= 0
    return found


def test_a_classifier_gives_probabilities_a_regression_values_a_preprocessor_columns(tmp_path):
    x, _ = flow_files.rows(5, seed=2)
    for model, kind, expected in (
        (flow_files.classifier(), "SKLEARN_CLASSIFIER", lambda m: m.predict_proba(x)),
        (flow_files.classifier(), "SKLEARN", lambda m: m.predict(x)),
        (flow_files.regressor(), "SKLEARN", lambda m: m.predict(x)),
        (flow_files.scaler(), "SKLEARN_PREPROCESSOR", lambda m: m.transform(x)),
    ):
        flow_files.save(tmp_path, "model.pkl", model)
        flow = load_flow(str(tmp_path), [{"modelType": kind, "file": "model.pkl"}])
        np.testing.assert_allclose(ask(flow, x.tolist()), expected(model))


def test_each_stage_runs_on_the_output_of_the_one_before(tmp_path, written):
    functions = written("def positive(result):\n    return result[:, 1]\n")
    scaler = flow_files.scaler()
    x, y = flow_files.rows()
    fitted = LogisticRegression().fit(scaler.transform(x), y)
    flow_files.save(tmp_path, "scaler.pkl", scaler)
    flow_files.save(tmp_path, "model.pkl", fitted)
    flow = load_flow(
        str(tmp_path),
        [
            {"modelType": "SKLEARN_PREPROCESSOR", "file": "scaler.pkl"},
            {**CLASSIFIER, "post": f"{functions}:positive"},
        ],
    )
    np.testing.assert_allclose(ask(flow, x[:7].tolist()), fitted.predict_proba(scaler.transform(x[:7]))[:, 1])


def test_the_documented_image_example_predicts_from_files(tmp_path, written):
    name = written(flow_files.IMAGE_FUNCTIONS)
    flow_files.image_model(tmp_path, importlib.import_module(name))
    flow = load_flow(str(tmp_path), [{**CLASSIFIER, "pre": f"{name}:pre_process", "post": f"{name}:named"}])
    files = [("night.png", flow_files.picture(10)), ("day.png", flow_files.picture(250))]
    night, day = ask(flow, ["a", "b"], *files)
    assert (night["image"], night["file"], night["bright"] < 0.2) == ("a", "night.png", True)
    assert (day["image"], day["file"], day["bright"] > 0.8) == ("b", "day.png", True)


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("def pre(data): return data", 1),
        ("def pre(data, files): return data", 2),
        ("def pre(data, files=None): return data", 2),
        ("def pre(*all): return all[0]", 2),
    ],
)
def test_pre_gets_as_many_arguments_as_it_takes(tmp_path, written, source, seen):
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    flow = load_flow(str(tmp_path), [{**CLASSIFIER, "pre": f"{written(source)}:pre"}])
    assert len(ask(flow, [[1, 2, 3]])) == 1
    assert flow.stages[0].pre.takes == seen


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def post(result): return [len(result)]", [2]),
        ("def post(result, data): return data", [[1, 2, 3], [4, 5, 6]]),
        ("def post(result, data, files): return [f.read().decode() for f in files]", ["x", "y"]),
        ("def post(result): return {'label': 'cat'}", [{"label": "cat"}]),
        ("def post(result): return result[:, 1][0] > 2", [False]),
    ],
)
def test_post_gets_result_data_and_files_and_may_return_any_plain_value(tmp_path, written, source, expected):
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    name = written(source + "\ndef pre(data, files):\n    [f.read() for f in files]\n    return data\n")
    flow = load_flow(str(tmp_path), [{**CLASSIFIER, "pre": f"{name}:pre", "post": f"{name}:post"}])
    found = ask(flow, [[1, 2, 3], [4, 5, 6]], ("a", b"x"), ("b", b"y"))
    assert found == expected


def test_named_fields_reach_a_model_that_was_fitted_on_a_frame_whatever_their_order(tmp_path):
    frame = pd.DataFrame(flow_files.rows()[0], columns=["a", "b", "c"])
    model = LogisticRegression().fit(frame, flow_files.rows()[1])
    flow_files.save(tmp_path, "model.pkl", model)
    flow = load_flow(str(tmp_path), [CLASSIFIER])
    shuffled = frame[:4][["c", "a", "b"]].to_dict(orient="records")
    np.testing.assert_allclose(ask(flow, shuffled), model.predict_proba(frame[:4]))


def test_what_is_explained_is_what_is_served(tmp_path, written):
    name = written("def post(result):\n    return [{'scores': {'yes': p[1]}} for p in result.tolist()]\n")
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    settings = {"stages": [{**CLASSIFIER, "post": f"{name}:post"}], "outputs": ["scores.yes"]}
    functions = handler.load(settings, str(tmp_path))
    x, _ = flow_files.rows(6, seed=3)
    _, (found,) = functions["predict"]({}, [x])
    head, (served,) = functions["run"]({}, [json.dumps(x.tolist()).encode()])
    assert head["count"] == 6
    np.testing.assert_allclose(found[:, 0], [one["scores"]["yes"] for one in json.loads(served)])


@pytest.mark.parametrize(
    ("data", "files", "words"),
    [
        (b"{", [], "not JSON"),
        (b'{"a": 1}', [], "must be a JSON list"),
        (b"[]", [], "no data point"),
        (b"[[1, 2, 3], [1]]", [], "same length"),
        (b"[[1, 2, 3]]", [b"file"], "no stage takes files"),
    ],
)
def test_wrong_data_is_the_clients_fault_and_said_so(tmp_path, data, files, words):
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    run = handler.load({"stages": [CLASSIFIER]}, str(tmp_path))["run"]
    answer, buffers = run({"files": [{"name": "f"} for _ in files]}, [data, *files])
    assert words in answer["error"]
    assert answer["fault"] == "data"
    assert buffers == []


@pytest.mark.parametrize(
    ("post", "words"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("return [float('nan')]", "result[0] is not a finite number"),
        ("return [object()]", "JSON has not"),
        ("return [1, [2, {'x': float('inf')}]]", "result[1][1].x"),
    ],
)
def test_a_flow_that_fails_says_which_stage_and_where(tmp_path, written, post, words):
    name = written(f"def post(result):\n    {post}\n")
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    run = handler.load({"stages": [{**CLASSIFIER, "post": f"{name}:post"}]}, str(tmp_path))["run"]
    answer, _ = run({}, [b"[[1, 2, 3]]"])
    assert words in answer["error"]
    assert answer["fault"] == "code"
    if "Zero" in words:
        assert f"{name}.py, line 2" in answer["error"]
        assert "stage 1 (SKLEARN_CLASSIFIER)" in answer["error"]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"modelType": "SKLEARN", "file": "none.pkl"}, "no file none.pkl"),
        ({"modelType": "SKLEARN", "file": "../../etc/passwd"}, "outside"),
        ({"modelType": "SKLEARN_PREPROCESSOR", "file": "model.pkl"}, "no transform"),
        ({**CLASSIFIER, "pre": "nomodule_here:f"}, "nomodule_here"),
        ({**CLASSIFIER, "pre": "json:f"}, "no function f"),
        ({**CLASSIFIER, "post": "function"}, "module:function"),
        ({"modelType": "SPACY", "file": "."}, "requirements.txt"),
        ({"modelType": "SKLEARN", "file": "broken.pkl"}, "loading failed"),
    ],
)
def test_a_flow_that_cannot_be_loaded_says_why(tmp_path, stage, words):
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    (tmp_path / "broken.pkl").write_bytes(b"not a pickle")
    with pytest.raises(FlowError) as refused:
        load_flow(str(tmp_path), [stage])
    assert words in refused.value.sentence
    assert "stage 1" in refused.value.sentence


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("libtorch_cuda.so: failed to map segment from shared object", "more memory"),
        ("libblas.so: cannot allocate memory in static TLS block", "more memory"),
        ("No module named 'pandas_of_ours'", "requirements.txt"),
    ],
)
def test_a_library_that_does_not_load_is_told_with_what_helps(
    message: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ImportError(message)

    monkeypatch.setattr("modelwarden_server.modelserver.flow.run.load_model", refuse)
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(FlowError, match=remedy):
        load_flow(str(tmp_path), [CLASSIFIER])


def test_the_model_at_the_end_of_a_flow_is_read_and_heard(tmp_path: Path) -> None:
    scaler, classifier = flow_files.scaler(), flow_files.classifier()
    flow_files.save(tmp_path, "scaler.pkl", scaler)
    flow_files.save(tmp_path, "model.pkl", classifier)
    stages = [{"modelType": "SKLEARN_PREPROCESSOR", "file": "scaler.pkl"}, CLASSIFIER]
    child = handler.load({"stages": stages, "fields": ["0", "1", "2"]}, str(tmp_path))
    x, _ = flow_files.rows(20, seed=3)
    header, arrays = child["export"]({}, [x])
    assert arrays, header
    assert any(np.allclose(array, classifier.coef_) for array in arrays if array.shape == (1, 3))
    _, (encoded,) = child["encode"]({}, [x])
    assert np.allclose(encoded, scaler.transform(x))
    _, (predicted,) = child["predict"]({}, [x])
    assert np.allclose(predicted, classifier.predict_proba(scaler.transform(x)))


def test_a_flow_with_two_models_that_are_asked_is_not_read(tmp_path: Path) -> None:
    flow_files.save(tmp_path, "model.pkl", flow_files.classifier())
    flow_files.save(tmp_path, "second.pkl", LogisticRegression().fit([[0.1, 0.9], [0.8, 0.2]], [0, 1]))
    stages = [CLASSIFIER, {"modelType": "SKLEARN_CLASSIFIER", "file": "second.pkl"}]
    child = handler.load({"stages": stages, "fields": ["0", "1", "2"]}, str(tmp_path))
    header, arrays = child["export"]({}, [flow_files.rows(20, seed=3)[0]])
    assert not arrays
    assert "several estimators" in header["why"]
