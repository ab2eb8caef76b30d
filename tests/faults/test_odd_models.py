"""Models that nobody would draw in a textbook, as a person runs them: `modelwarden local` with a real store
and real training Jobs, every answer asked for over HTTP.

Whatever is sent: a clear state and message, no 500, no number that is none, no value of a row where none
belongs. Each model takes ten to thirty seconds, so a day's run has one, MODELWARDEN_LONG=1 all of them.
"""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from odd_models import Odd, odd_models
from odd_rows import MARK, times
from store_process import REPO, START_SECONDS, free_port, wait_for

pytestmark = pytest.mark.faults
CASES = odd_models()
DAILY = ("three rows",)
SHARES = {
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "auc", "coverage", "share",
    "rate", "false_positive_rate", "false_negative_rate", "true_positive_rate", "true_negative_rate",
    "selection_rate", "expected_rate", "p_value", "p_adjusted",
}  # fmt: skip
"""Keys whose numbers lie between 0 and 1."""
WINDOW = "start=2026-06-01T00:00:00Z&end=2026-06-11T00:00:00Z"


@dataclass(frozen=True)
class Watched:
    """A local cell."""

    folder: Path
    http: httpx.Client
    model: str

    def status(self) -> Any:
        return parsed(self.http.get("/status").raise_for_status().text)

    def states(self) -> dict[str, Any]:
        return {entry["kind"]: entry for entry in self.status()["enrichments"]}

    def told(self) -> str:
        """What it printed and logged."""
        logs = [self.folder / "screen", *self.folder.glob(".modelwarden/**/server.log")]
        return "\n".join(text_of(path) for path in logs)


def text_of(path: Path) -> str:
    """What is there so far: its end may be half a character that is being written."""
    return path.read_text(errors="replace")


def parsed(text: str) -> Any:
    """JSON without the numbers that JSON does not have."""
    return json.loads(text, parse_constant=lambda what: pytest.fail(f"{what} in {text[:300]}"))


def numbers_are_sound(value: Any, at: str = "") -> None:
    """Shares lie between 0 and 1, values between their bounds."""
    if isinstance(value, list):
        for i, one in enumerate(value):
            numbers_are_sound(one, f"{at}[{i}]")
    if not isinstance(value, dict):
        return
    for key, one in value.items():
        if key in SHARES and isinstance(one, int | float):
            assert 0 <= one <= 1, f"{at}.{key} = {one}"
        if key in SHARES and isinstance(one, dict) and isinstance(one.get("value"), int | float):
            least = -1 if at.endswith((".differences", ".change")) else 0
            assert least <= one["value"] <= 1, f"{at}.{key} = {one}"
        numbers_are_sound(one, f"{at}.{key}")
    bounds = [value.get(low) for low in ("lower", "low") if low in value] + [value.get("value")]
    bounds += [value.get(high) for high in ("upper", "high") if high in value]
    if len(bounds) == 3 and None not in bounds:
        assert bounds[0] <= bounds[1] + 1e-9 <= bounds[2] + 2e-9, f"{at}: {value}"


@contextmanager
def local(folder: Path, odd: Odd) -> Iterator[Watched]:
    write_folder(folder, odd)
    port = free_port()
    command = [sys.executable, "-m", "modelwarden_server", "local", str(folder), "--port", str(port)]
    command += ["--server-port", str(free_port())]
    command += ["--reference", str(table(folder / "reference.parquet", odd.reference))]
    environment = os.environ | {"PYTHONPATH": f"{REPO}/operator:{REPO}/model-server-image"}
    with (folder / "screen").open("wb") as screen:
        process = subprocess.Popen(command, env=environment, stdout=screen, stderr=screen)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(
            lambda: process.poll() is not None or "Ctrl-C ends it" in text_of(folder / "screen"),
            START_SECONDS,
        )
        assert process.poll() is None, text_of(folder / "screen")
        key = (folder / ".modelwarden" / "odd" / "key").read_text()
        with httpx.Client(base_url=url, headers={"Authorization": key}, timeout=120) as client:
            wait_for(lambda: ready(client), START_SECONDS)
            yield Watched(folder, client, client.get("/status").json()["modelId"])
        assert process.poll() is None, "it died"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(START_SECONDS)
            finally:
                process.kill()
                process.wait()


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def write_folder(folder: Path, odd: Odd) -> None:
    spec = odd.spec | {
        "storage": {"persistentVolumeClaim": {"size": "1Gi"}},
        "monitoring": {"minimumRows": 100, "window": "10d"},
    }
    ref = {"modelRef": {"name": "odd"}}
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("MonitoredModel", "odd", spec),
        ("ReferenceDataset", "training", ref),
        ("Enrichment", "unusual", ref | {"type": "AnomalyDetection"}),
        ("Enrichment", "fair", ref | {"type": "BiasMitigation"}),
        ("Enrichment", "spots", ref | {"type": "Hotspots", "hotspots": {"window": "4d", "minimumRows": 50}}),
    ]
    documents = [
        {"apiVersion": "modelwarden.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": body}
        for kind, name, body in kinds
    ]
    (folder / "all.yaml").write_text(yaml.safe_dump_all(documents))


def table(path: Path, rows: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def send(cell: Watched, odd: Odd) -> None:
    """Rows with their labels as a file, by batches where there are any; then what comes later."""
    stamps = times(len(odd.rows), odd.one_instant)
    rows = [
        {"partner_inference_id": f"r{i}", "inference_timestamp": stamp, **row}
        for i, (row, stamp) in enumerate(zip(odd.rows, stamps, strict=True))
    ]
    labels = [a["name"] for a in odd.spec["attributes"] if a["stage"].startswith("GROUND_TRUTH")]
    for row in rows:
        if any(name in row for name in labels):
            row["ground_truth_timestamp"] = row["inference_timestamp"]
    path = f"/api/v3/models/{cell.model}"
    for part in range(max(len(odd.batches), 1)):
        mine = rows[part :: max(len(odd.batches), 1)]
        content = table(cell.folder / "part.parquet", mine).read_bytes()
        form = {"batch_id": odd.batches[part]} if odd.batches else {}
        files = {"inference_data": ("part.parquet", content)}
        answer = cell.http.post(f"{path}/inferences/file", files=files, data=form)
        assert answer.status_code < 500, answer.text
        counts = parsed(answer.text)["counts"]
        assert counts["success"] + counts["failure"] == len(mine)
        assert bool(counts["failure"]) == odd.refused, answer.text[:500]
        if odd.batches:
            close = {"status": "uploaded", "total_record_count": len(mine)}
            assert cell.http.patch(f"{path}/batches/{odd.batches[part]}", json=close).status_code == 200
    for labelled in odd.relabels:
        body = [
            {"partner_inference_id": one, "ground_truth_timestamp": stamps[-1], "ground_truth_data": data}
            for one, data in labelled
        ]
        answer = cell.http.patch(f"{path}/ground_truth", json=body)
        assert answer.json()["counts"]["success"] == len(body), answer.text[:500]


def profiled(cell: Watched) -> bool:
    known = cell.status()["reference"]
    return bool(known) and all(one["state"] in ("profiled", "failed") for one in known)


def settled(cell: Watched) -> bool:
    """Nothing is to be trained, and no row is without its score."""
    status = cell.status()
    if status["rows"]["waiting"] or any(_moves(e) for e in status["enrichments"]):
        return False
    ready = {e["kind"] for e in status["enrichments"] if e["state"] == "Ready"}
    return "anomaly" not in ready or (status["anomaly"] is not None and not status["anomaly"]["waiting"])


def _moves(entry: Any) -> bool:
    return entry["state"] == "Training" or entry["due"] or "the profile of" in entry["message"]


def questions(cell: Watched, odd: Odd) -> Iterator[str]:
    yield from (
        "",
        f"/performance?{WINDOW}",
        "/performance",
        "/performance?rollup=day",
        "/performance?threshold=0.3337",
    )
    for name in [a["name"] for a in odd.spec["attributes"] if a["monitorForBias"]][:3] or ["age"]:
        yield from (
            f"/performance?attribute={name}&{WINDOW}",
            f"/fairness?attribute={name}&{WINDOW}",
            f"/fairness?attribute={name}",
        )
    yield from (f"/anomalies?{WINDOW}", "/anomalies", "/insights", "/insights/group_counts")
    for name in ("", "/anomaly_detection", "/bias_mitigation", "/hotspots", "/explainability"):
        yield f"/enrichments{name}"
    for metric in (
        "accuracy",
        "precision",
        "recall",
        "f1",
        "absolute_error",
        "squared_error",
        "estimated_loss",
    ):
        yield f"/enrichments/hotspots/find?metric={metric}&threshold=rest"
    yield "/enrichments/hotspots/find?threshold=1"
    yield from ("/enrichments/bias_mitigation/curves", "/enrichments/bias_mitigation/thresholds")
    for batch in odd.batches[:1]:
        yield from (
            f"/performance?batch_id={batch}",
            f"/anomalies?batch_id={batch}",
            f"/fairness?attribute=sex&batch_id={batch}",
        )
        yield f"/enrichments/hotspots/find?batch_id={batch}"
    yield "/inferences/query/r0"


def asked(cell: Watched, odd: Odd) -> dict[str, Any]:
    """Every answer, sound or refused with a sentence."""
    answers = {}
    for question in questions(cell, odd):
        if not question:
            continue
        answer = cell.http.get(f"/api/v3/models/{cell.model}{question}")
        assert answer.status_code in (200, 400, 404), f"{question}: {answer.status_code} {answer.text}"
        answers[question] = parsed(answer.text)
        if answer.status_code != 200:
            sentence = answers[question]["error"]
            assert len(sentence) > 10, f"{question}: {sentence}"
            assert MARK not in sentence, f"{question}: {sentence}"
        numbers_are_sound(answers[question], question)
    return answers


def metrics_are_sound(text: str) -> None:
    for line in text.splitlines():
        if line.startswith("modelwarden_"):
            value = float(line.rsplit(" ", 1)[1])
            assert math.isfinite(value), line
            if line.startswith("modelwarden_performance{") and 'metric="auc"' in line:
                assert 0 <= value <= 1, line


def check(cell: Watched, odd: Odd) -> None:
    if odd.reference_refused:
        wait_for(lambda: "parquet was not taken" in " ".join(cell.told().split()), START_SECONDS, 0.2)
    else:
        wait_for(lambda: profiled(cell), START_SECONDS, 0.2)
    send(cell, odd)
    wait_for(lambda: settled(cell), 240, 0.5)
    states = cell.states()
    if os.environ.get("ODD_SHOW"):
        for kind, entry in states.items():
            print(f"    {kind:9} {entry['state']:9} {entry['reason']}: {entry['message']} {entry['missing']}")
    answers = asked(cell, odd)
    status = cell.status()
    numbers_are_sound(status)
    scrape = cell.http.get("/metrics").text
    metrics_are_sound(scrape)
    told = {"status": json.dumps(status), "metrics": scrape, "screen and log": cell.told()}
    if os.environ.get("ODD_SHOW"):
        (Path(os.environ["ODD_SHOW"]) / (cell.folder.name + ".json")).write_text(
            json.dumps({"answers": answers, "status": status, "log": cell.told()}, indent=1)
        )
    for where, text in told.items():
        assert MARK not in text, f"a value in {where}: …{text[max(0, text.index(MARK) - 200) :][:400]}"
        assert "Traceback" not in text, f"{where}: {text[text.index('Traceback') :][:2000]}"
    for metric in odd.withheld:
        for entry in answers[f"/performance?{WINDOW}"]["query_result"]:
            assert entry["metrics"].get(metric, {}).get("value") is None, entry["metrics"]
    for kind, right in odd.states.items():
        entry = states[kind]
        assert entry["state"] in right, entry
        if entry["state"] != "Ready":
            assert entry["reason"], entry
            assert entry["message"] or entry["missing"], entry


def cases() -> list[Any]:
    everyday = os.environ.get("MODELWARDEN_LONG") != "1"
    return [name for name in CASES if not everyday or name in DAILY]


@pytest.mark.parametrize("name", cases())
def test_an_odd_model_gets_clear_states_and_no_nonsense(name: str, tmp_path: Path) -> None:
    odd = CASES[name]()
    folder = tmp_path / name.replace(" ", "-")
    folder.mkdir()
    with local(folder, odd) as cell:
        check(cell, odd)
