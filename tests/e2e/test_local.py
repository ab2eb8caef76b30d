"""`modelwarden local` as a person runs it: the census YAML in a folder, a reference file, rows and late
labels by command.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from examples_people import people
from store_process import free_port

from examples.census import data, train
from examples.census.kubectl import Waiting, wait_for
from modelwarden.client import Cell, CellError, Patience

HERE = Path(data.__file__).parent
COMMAND = [sys.executable, "-m", "modelwarden.client.cli"]
ROWS = 2000
SECONDS = 250.0


@dataclass(frozen=True)
class Local:
    """A cell that runs in a folder."""

    folder: Path
    port: int
    environ: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.folder / ".modelwarden" / "employment" / "key").read_text().strip()

    def cell(self) -> Cell:
        return Cell(self.url, self.key, patience=Patience(total_seconds=5))

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environ = {**self.environ, "MODELWARDEN_URL": self.url, "MODELWARDEN_KEY": self.key}
        return subprocess.run(
            [*COMMAND, *arguments], env=environ, capture_output=True, text=True, timeout=250, check=False
        )


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    later = people(ROWS, 2016, first_id=4000)
    census = data.Census(people(4000, 2015), later, later.select(["id", data.LABEL]))
    story = train.tell(census)
    pq.write_table(story.reference, tmp_path / "reference.parquet")
    pq.write_table(story.replay, tmp_path / "inferences.parquet")
    pq.write_table(story.labels, tmp_path / "labels.parquet")
    for name in ("model.yaml", "reference.yaml"):
        (tmp_path / name).write_text((HERE / name).read_text())
    port = free_port()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    reference = tmp_path / "reference.parquet"
    command = [*COMMAND, "local", str(tmp_path), f"--port={port}", f"--reference={reference}"]
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(command, env=environ, stdout=printed, stderr=subprocess.STDOUT)
    made = Local(tmp_path, port, environ)
    try:
        wait_for("the reference is profiled", lambda: _profiled(made, process), Waiting(SECONDS, every=0.2))
        yield made
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=120)
        finally:
            process.kill()


def _profiled(local: Local, process: "subprocess.Popen[bytes]") -> tuple[bool, str]:
    assert process.poll() is None, (local.folder / "printed").read_text()
    try:
        with local.cell() as cell:
            states = [entry["state"] for entry in cell.status()["reference"]]
    except (CellError, OSError) as reason:
        return False, str(reason)
    return states == ["profiled"], str(states)


def _trained(local: Local) -> tuple[bool, str]:
    shown = local.run("enrichments").stdout
    state = next((line.split()[2] for line in shown.splitlines() if line.startswith("anomaly ")), "")
    told = "anomaly detection is ready" in (local.folder / "printed").read_text()
    return state == "Ready" and told, state


def test_a_folder_of_yaml_is_a_whole_cell(local: Local) -> None:
    sent = local.run("send", str(local.folder / "inferences.parquet"))
    assert (sent.returncode, sent.stdout) == (0, f"sent {ROWS}, acknowledged {ROWS}, refused 0\n"), (
        sent.stderr
    )
    drift = local.run("drift", "AGEP", "MAR", "--by", "year")
    assert drift.returncode == 0, drift.stderr
    assert "2016" in drift.stdout
    shown = local.run("status")
    assert f"{ROWS} acknowledged" in shown.stdout
    assert "employment-2015: profiled, 2000 rows" in shown.stdout
    wait_for("anomaly detection is trained", lambda: _trained(local), Waiting(SECONDS, every=0.5))
    again = local.run("send", str(local.folder / "inferences.parquet"))
    assert f"acknowledged {ROWS}, refused 0" in again.stdout
    assert f"{ROWS} acknowledged" in local.run("status").stdout, "sent twice, counted once"
    late = local.run("labels", str(local.folder / "labels.parquet"))
    assert late.stdout == f"sent {ROWS}, acknowledged {ROWS}, refused 0\n", late.stderr
    file = local.run("send-file", str(local.folder / "labels.parquet"), "--labels")
    assert file.stdout == f"read {ROWS}, acknowledged {ROWS}, refused 0\n", file.stderr
    asked = local.run("query", '{"select": [{"function": "auc", "alias": "auc"}]}', "--json")
    # An answer is of all that was acknowledged: it waits until that is stored.
    assert f"{ROWS} acknowledged: {ROWS} stored" in local.run("status").stdout
    assert 0.8 < json.loads(asked.stdout)["auc"] <= 1, asked.stderr
