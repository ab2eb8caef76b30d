"""A folder of YAML becomes one model, or a sentence that names the file and what is wrong."""

import json
import os
from pathlib import Path

import pytest

from modelwarden_server.local import _stamps, main
from modelwarden_server.localfiles import FolderError, read_folder

MODEL = """
apiVersion: modelwarden.dev/v1alpha1
kind: MonitoredModel
metadata: {name: NAME}
spec:
  inputType: TABULAR
  outputType: MULTICLASS
  storage: {persistentVolumeClaim: {size: 1Gi}}
  attributes:
    - {name: age, valueType: INTEGER, stage: PIPELINE_INPUT}
    - {name: pred, valueType: FLOAT, stage: PREDICTED_VALUE, attributeLink: gt}
    - {name: gt, valueType: INTEGER, stage: GROUND_TRUTH, attributeLink: pred}
"""
DATASET = """
apiVersion: modelwarden.dev/v1alpha1
kind: ReferenceDataset
metadata: {name: DATASET}
spec: {modelRef: {name: NAME}}
"""


def folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return path


def model(name: str) -> str:
    return MODEL.replace("NAME", name)


def dataset(name: str, of: str) -> str:
    return DATASET.replace("DATASET", name).replace("NAME", of)


def test_the_only_model_is_found_with_its_own_datasets(tmp_path: Path) -> None:
    made = folder(
        tmp_path, a=f"{model('one')}\n---\n{dataset('mine', 'one')}", b=dataset("other", "two"), c="[1]"
    )
    found = read_folder(made, None)
    assert (found.name, [d.metadata.name for d in found.datasets]) == ("one", ["mine"])
    assert [a.name for a in found.identity().attributes if not a.implicit] == ["age", "pred", "gt"]
    assert found.settings().display_name == "one"


def test_enrichments_of_the_folder_are_in_the_settings(tmp_path: Path) -> None:
    def enrichment(name: str, of: str, **spec: object) -> str:
        head = f"apiVersion: modelwarden.dev/v1alpha1\nkind: Enrichment\nmetadata: {{name: {name}}}\n"
        return f"{head}spec: {json.dumps({'modelRef': {'name': of}, **spec})}\n"

    made = folder(
        tmp_path,
        a=model("one"),
        b=enrichment("seeded", "one", type="AnomalyDetection", anomalyDetection={"seed": 7}),
        c=enrichment("fair", "one", type="BiasMitigation"),
        d=enrichment("elsewhere", "two", type="Hotspots"),
    )
    found = read_folder(made, None)
    told = found.settings().enrichments
    assert (told.anomaly_detection.enabled, told.anomaly_detection.seed) == (True, 7)
    assert (told.bias_mitigation.enabled, told.hotspots.enabled) == (True, False)
    assert [e.metadata.name for e in found.enrichments] == ["seeded", "fair"]
    (tmp_path / "b.yaml").write_text(enrichment("seeded", "one", type="Anomaly"))
    with pytest.raises(FolderError, match=r"b\.yaml.*type"):
        read_folder(made, None)


def test_of_several_models_one_is_chosen_by_name(tmp_path: Path) -> None:
    made = folder(tmp_path, a=model("one"), b=model("two"))
    assert read_folder(made, "two").name == "two"
    for wanted, says in (
        (None, "it has one, two: choose with --model"),
        ("three", "no MonitoredModel three"),
    ):
        with pytest.raises(FolderError, match=says):
            read_folder(made, wanted)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must have one MonitoredModel, it has none"),
        ("a: [", "a.yaml cannot be read as YAML"),
        (model("one").replace("outputType", "outputTypo"), "outputTypo"),
        (model("one").replace("stage: PIPELINE_INPUT", "stage: INPUT"), "stage"),
    ],
)
def test_a_folder_that_cannot_be_run_is_told_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FolderError, match=says):
        read_folder(folder(tmp_path, a=text), None)


def test_attributes_that_do_not_fit_together_are_told_by_name(tmp_path: Path) -> None:
    text = model("one").replace("name: gt,", "name: truth,")
    with pytest.raises(FolderError, match="attribute pred"):
        read_folder(folder(tmp_path, a=text), None).identity()


def test_the_command_ends_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "has no YAML files" in capsys.readouterr().out


def test_a_file_that_goes_while_the_folder_is_looked_at_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the cell would follow its folder no longer, and tell nobody."""
    made, real = folder(tmp_path, a=model("a"), gone="x"), Path.stat
    (made / "nowhere.yaml").symlink_to(made / "nothing")

    def gone_when_looked_at(path: Path, **more: bool) -> os.stat_result:
        found = real(path, **more)
        if path.name == "gone.yaml":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", gone_when_looked_at)
    _stamps(made)
    assert [name for name, _, _ in _stamps(made)] == ["a.yaml"]
