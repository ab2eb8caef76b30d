"""Conduit: flows bundled with the sources of their functions, and written for Git."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
import yaml
from flow_functions import breaks, named, pre_process

from modelwarden.client.conduit import Conduit, ConduitError, hardware
from modelwarden.resources.monitoredmodel import parse

STRANGE = object()


def uses_an_object(result):
    return STRANGE


def uses_nothing_known(result):
    return nowhere(result)  # noqa: F821


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"nobody looks into it")
    return folder


def closure():
    here = 1

    def inner(data):
        return here

    return inner


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda data: data, "made with def"),
        (closure(), "uses here of the function around it"),
        (uses_an_object, "STRANGE, a object"),
        (uses_nothing_known, "nowhere, which is not defined"),
        (len, "made with def"),
    ],
)
def test_functions_that_cannot_be_written_down_are_refused_by_name(base, tmp_path, function, words):
    conduit = Conduit("m", ("SKLEARN", str(base / "model.pkl"), {"pre": function}))
    with pytest.raises(ConduitError, match=words):
        conduit.deploy(out=tmp_path / "out")


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (("LIGHT", "x"), "no model type LIGHT"),
        ([("SKLEARN",)], "stage 1 must be"),
        ("SKLEARN", "a flow is a list"),
        (("SKLEARN", "x", {"before": breaks}), "no before"),
        (("SKLEARN", "x", {"pre": "breaks"}), "must be a function"),
        (("HUGGINGFACE_PIPELINE", "x"), "needs"),
        (("SKLEARN", "no.pkl"), "there is no no.pkl"),
    ],
)
def test_flows_that_cannot_be_are_refused(flow, words, tmp_path):
    with pytest.raises(ConduitError, match=words):
        Conduit("m", None, flow).deploy(out=tmp_path)  # not the api key's place


def test_what_is_written_for_git_is_a_valid_model_and_the_same_zip_each_time(base, tmp_path):
    (base / "needed.txt").write_text("scikit-learn\n")
    (base / "words").mkdir()
    (base / "words" / "en.txt").write_text("dark")
    conduit = Conduit(
        "pictures",
        [("SKLEARN_CLASSIFIER", base / "model.pkl", {"pre": pre_process, "post": named})],
        hardware=hardware.CPU,
        cpu=0.5,
        memory=1.5,
        cooldown=30,
        python_version="3.11",
        requirements_file=base / "needed.txt",
        include=[base / "words"],
        outputs={"p": "p"},
    )
    hashes = set()
    for folder in ("one", "two"):
        out = Path(conduit.deploy("risk", out=tmp_path / folder))
        content = (out / "files.zip").read_bytes()
        hashes.add(hashlib.sha256(content).hexdigest())
    assert len(hashes) == 1
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {
            "flow.json", "model.pkl", "requirements.txt", "stage_1_post.py", "stage_1_pre.py", "words/en.txt",
        }  # fmt: skip
        stages = json.loads(archive.read("flow.json"))
    body = yaml.safe_load((out / "model.yaml").read_text())
    body["metadata"] |= {"uid": "u", "generation": 1}
    model = parse(body, strict=True)
    assert model.spec.serving is not None
    assert [
        s.model_dump(mode="json", by_alias=True, exclude_none=True) for s in model.spec.serving.flow
    ] == stages
    assert stages[0]["pre"] == "stage_1_pre:pre_process"
    assert (model.spec.serving.cpu, model.spec.serving.memory) == ("500m", "1500M")


@pytest.mark.parametrize("name", ["Upper", "1st", "", "a" * 41, "end-", "two words"])
def test_names_that_a_cluster_cannot_have_are_refused(name):
    with pytest.raises(ConduitError, match="name"):
        Conduit(name)


def test_a_setting_that_there_is_not_is_refused():
    with pytest.raises(ConduitError, match="no setting memry"):
        Conduit("m", memry=3)  # type: ignore[call-arg]
