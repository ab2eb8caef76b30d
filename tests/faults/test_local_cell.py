"""`modelwarden local DIR` as a person runs it: rows and a reference in, an answer out, Ctrl-C."""

import base64
import io
import os
import random
import signal
import socket
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import census_like as census
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from store_process import ANSWER_SECONDS, REPO, START_SECONDS, free_port, wait_for

from modelwarden.resources.report import StatusReport

pytestmark = pytest.mark.faults


def write_yaml(folder: Path, threshold: float) -> None:
    model = census.model().model_dump(mode="json", by_alias=True, exclude_none=True)
    model = {key: model[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "census"}}
    model["spec"]["monitoring"] = {"minimumRows": 50, "window": "1h", "driftThreshold": threshold}
    dataset = {
        "apiVersion": "modelwarden.dev/v1alpha1",
        "kind": "ReferenceDataset",
        "metadata": {"name": "census-2015"},
        "spec": {"modelRef": {"name": "census"}},
    }
    at_once(folder / "model.yaml", yaml.safe_dump_all([model, dataset]))


def at_once(path: Path, text: str) -> None:
    """Whoever looks at the folder meanwhile finds the file as it was or as it is, not the half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


ENTRYPOINT = """
def predict(x):
    return [(float(age) - 20) / 100 for age in x[:, 0]]
"""


def write_project(folder: Path) -> None:
    """A user's project as a zip in a ConfigMap, and the Enrichment that explains with it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("entrypoint.py", ENTRYPOINT)
    held = {"user_project.zip": base64.b64encode(made.getvalue()).decode()}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "project"}, "binaryData": held}
    source = {"configMap": {"name": "project", "key": "user_project.zip"}}
    enrichment = {
        "apiVersion": "modelwarden.dev/v1alpha1",
        "kind": "Enrichment",
        "metadata": {"name": "census-reasons"},
        "spec": {
            "modelRef": {"name": "census"},
            "type": "Explainability",
            "explainability": {"explanationAlgo": "shap", "explanationNsamples": 200, "project": source},
        },
    }
    at_once(folder / "why.yaml", yaml.safe_dump_all([config, enrichment]))


def reference(path: Path) -> Path:
    chance = random.Random(1)
    rows = [
        {
            "age": chance.randrange(20, 60),
            "income": chance.gauss(0, 1),
            "state": chance.choice(["MA", "NY"]),
            "married": chance.random() < 0.5,
            "joined": None,
            "note": None,
            "pred": chance.random(),
            "gt": chance.randrange(2),
        }
        for _ in range(2000)
    ]
    schema = pa.schema(
        {
            "age": pa.int64(),
            "income": pa.float64(),
            "state": pa.string(),
            "married": pa.bool_(),
            "joined": pa.timestamp("us", "UTC"),
            "note": pa.string(),
            "pred": pa.float64(),
            "gt": pa.int64(),
        }
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def test_one_command_runs_a_model_from_its_yaml(tmp_path: Path) -> None:
    folder, port = tmp_path / "model", free_port()
    folder.mkdir()
    write_yaml(folder, 0.2)
    command = [sys.executable, "-m", "modelwarden_server", "local", str(folder), "--port", str(port)]
    command += ["--server-port", str(free_port())]
    command += ["--reference", str(reference(tmp_path / "reference.parquet"))]
    environment = os.environ | {"PYTHONPATH": f"{REPO}/operator:{REPO}/model-server-image"}
    output = tmp_path / "screen.txt"
    with output.open("wb") as screen:
        process = subprocess.Popen(command, env=environment, stdout=screen, stderr=screen)
    screens = ExitStack()

    def told() -> str:
        # The end may be half a character that is being written.
        return output.read_text(errors="replace")

    try:
        wait_for(lambda: process.poll() is not None or "Ctrl-C ends it" in told(), START_SECONDS)
        assert process.poll() is None, told()
        key = (folder / ".modelwarden" / "census" / "key").read_text()
        client = screens.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": key},
                timeout=ANSWER_SECONDS,
                verify=False,
            )
        )

        def status() -> StatusReport:
            return StatusReport.from_json(client.get("/status").raise_for_status().content)

        wait_for(lambda: "census-2015: profiled, 2000 rows" in told(), START_SECONDS)
        chance = random.Random(2)
        rows = [census.row(i, age=chance.randrange(60, 99), income=chance.gauss(0, 1)) for i in range(400)]
        path = f"/api/v3/models/{status().model_id}/inferences"
        assert client.post(path, content=census.body(*rows)).json()["counts"]["success"] == 400
        report = wait_for(lambda: (s := status()).drift is not None and s.drift.state == "Ok" and s)
        assert (report.rows.stored, report.active_reference) == (400, "census-2015")
        assert "age" in [f.name for f in report.drift.features if f.drifted]
        write_project(folder)
        wait_for(lambda: status().settings_generation == 1)
        wait_for(lambda: "explanations is ready" in told(), START_SECONDS)
        asked = f"{path}/{rows[0]['partner_inference_id']}/explanation"
        # Whoever is refused for a moment is told to ask again.
        first = wait_for(lambda: (a := client.get(asked)).status_code == 200 and a.json())
        by_age = {
            o["attribute_name"]: o["explanation_value"] for o in first["explanation"][0]["importance_scores"]
        }
        assert by_age["age"] > 0.1
        assert by_age["state"] == pytest.approx(0, abs=1e-9)
        (folder / "why.yaml").unlink()
        wait_for(lambda: status().server is None)
        write_yaml(folder, 0.3)
        wait_for(lambda: status().settings_generation == 3)
        at_once(folder / "model.yaml", "a: [")
        wait_for(lambda: "cannot be read as YAML" in (status().settings_error or ""))
        process.send_signal(signal.SIGINT)
        assert process.wait(ANSWER_SECONDS) == 0
        assert "features drifted" in told()
    finally:
        screens.close()
        if process.poll() is None:
            process.kill()
            process.wait()
    assert pq.read_table(folder / ".modelwarden/census/volume/tables/inferences").num_rows == 400


def test_a_port_that_is_taken_is_told_in_a_sentence(tmp_path: Path) -> None:
    write_yaml(tmp_path, 0.2)
    command = [sys.executable, "-m", "modelwarden_server", "local", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{REPO}/operator:{REPO}/model-server-image"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command += ["--port", port, "--server-port", str(free_port())]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=START_SECONDS)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stdout.decode()
    assert b"Traceback" not in done.stdout + done.stderr
