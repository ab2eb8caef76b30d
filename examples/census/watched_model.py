"""The census model as an object in a cluster: applied, waited for, closed, deleted; through kubectl alone.

What this module must not do: send rows, or read tables.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from examples.census.kubectl import Kubectl, Waiting, condition, kubectl_of, wait_for
from testbed.cluster import Cluster
from testbed.progress import Reporter

HERE = Path(__file__).parent
MODEL = "employment"
DATASET = "employment-2015"
ENRICHMENTS = ("employment-hotspots", "employment-fair-thresholds")
REASONS = "employment-reasons"
READY_SECONDS, PROFILE_SECONDS, STATUS_SECONDS, DELETE_SECONDS = 180.0, 180.0, 150.0, 120.0
TRAIN_SECONDS = 300.0
SERVER_SECONDS = 420.0
FILES = ("model.yaml", "reference.yaml", "enrichments.yaml")
WHY = "explainability.yaml"


@dataclass(frozen=True)
class WatchedModel:
    """The MonitoredModel and its ReferenceDataset in one namespace."""

    cluster: Cluster
    namespace: str
    reporter: Reporter

    @property
    def kubectl(self) -> Kubectl:
        """The kubectl of its cluster."""
        return kubectl_of(self.cluster)

    def apply(self, more: str) -> None:
        """Applies all objects and waits until the model's store takes in rows. `more`: YAML that is made from
        the trained model.
        """
        with self.reporter.step(f"kubectl apply {', '.join(FILES)}, {WHY}; the store starts") as step:
            for file in FILES:
                self.kubectl.apply(HERE / file, "--namespace", self.namespace)
            self.kubectl.apply(more, "--namespace", self.namespace)
            waiting = Waiting(READY_SECONDS, heard=lambda now: step.advance(0, None, now))
            wait_for("the model is Ready", lambda: condition(self.model(), "Ready"), waiting)

    def model(self) -> dict[str, Any] | None:
        """The MonitoredModel as the API server has it."""
        return self.kubectl.get("monitoredmodel", MODEL, self.namespace)

    def dataset(self) -> dict[str, Any] | None:
        """The ReferenceDataset as the API server has it."""
        return self.kubectl.get("referencedataset", DATASET, self.namespace)

    def model_id(self) -> str:
        """The id under which the v3 API knows the model."""
        return str(((self.model() or {}).get("status") or {})["modelId"])

    def key(self) -> str:
        """The cell's key, as its owners read it."""
        secret = self.kubectl.get("secret", f"{MODEL}-key", self.namespace) or {}
        return base64.b64decode(secret["data"]["key"]).decode()

    def close_reference(self, rows: int) -> None:
        """Asks for the dataset to be closed with so many rows, and waits until it is profiled."""
        with self.reporter.step("Close the reference; a Job profiles it") as step:
            wish = json.dumps({"spec": {"closed": True, "totalRecordCount": rows}})
            self.kubectl.run(
                "patch",
                "referencedataset",
                DATASET,
                "--namespace",
                self.namespace,
                "--type",
                "merge",
                "--patch",
                wish,
            )
            waiting = Waiting(PROFILE_SECONDS, heard=lambda now: step.advance(0, None, now))
            wait_for("the reference is profiled", lambda: condition(self.dataset(), "Ready"), waiting)

    def wait_for_rows(self, acknowledged: int, labels: int) -> None:
        """Waits until the status tells of so many rows and labels, all of them stored, and judges the newest
        window.
        """
        with self.reporter.step("The status catches up") as step:
            waiting = Waiting(STATUS_SECONDS, every=1.0, heard=lambda now: step.advance(0, None, now))
            wait_for("the status tells of all rows", lambda: self._told(acknowledged, labels), waiting)

    def wait_for_enrichments(self) -> None:
        """Waits until both Enrichments are Ready: Jobs have trained, the store uses what they brought."""
        with self.reporter.step("Training Jobs: anomalies, thresholds by group, hotspots") as step:
            waiting = Waiting(TRAIN_SECONDS, every=1.0, heard=lambda now: step.advance(0, None, now))
            wait_for("both Enrichments are Ready", lambda: self._ready(ENRICHMENTS), waiting)

    def wait_for_server(self) -> None:
        """Waits until the model's server explains: a Job has installed packages, a pod has loaded them."""
        with self.reporter.step("A Job installs the project's packages; the model server starts") as step:
            waiting = Waiting(SERVER_SECONDS, every=1.0, heard=lambda now: step.advance(0, None, now))
            wait_for("the model is explained", lambda: self._ready((REASONS,)), waiting)

    def delete(self) -> None:
        """Deletes all objects and waits until they are gone; the claim stays (Retain)."""
        with self.reporter.step("kubectl delete the model"):
            enrichments = [("enrichment", name) for name in (*ENRICHMENTS, REASONS)]
            for kind, name in (*enrichments, ("referencedataset", DATASET), ("monitoredmodel", MODEL)):
                self.kubectl.run(
                    "delete", kind, name, "--namespace", self.namespace, "--wait", seconds=DELETE_SECONDS
                )

    def _ready(self, names: Sequence[str]) -> tuple[bool, str]:
        waiting = []
        for name in names:
            status = (self.kubectl.get("enrichment", name, self.namespace) or {}).get("status") or {}
            if status.get("state") != "Ready":
                waiting.append(f"{name} {status.get('state', 'is new')}: {status.get('message', '')}")
        return not waiting, "; ".join(waiting)

    def _told(self, acknowledged: int, labels: int) -> tuple[bool, str]:
        status = (self.model() or {}).get("status") or {}
        rows, drift = status.get("rows") or {}, status.get("drift") or {}
        late = rows.get("labels") or {}
        stored, judged = rows.get("stored", 0), drift.get("windowEnd")
        all_stored = stored == rows.get("acknowledged") == acknowledged
        all_labels = late.get("stored") == late.get("acknowledged") == labels
        said = (
            f"{stored:,} of {acknowledged:,} rows and {late.get('stored', 0):,} of {labels:,} labels stored, "
        )
        said += f"judged up to {judged}"
        if not judged or drift.get("state") != "Ok":
            return False, said
        behind = datetime.fromisoformat(status["newestInference"]) - datetime.fromisoformat(judged)
        return all_stored and all_labels and behind < timedelta(days=1), said


def hotspot_threshold() -> float:
    """The accuracy under which a region is worth telling, as the demo's Enrichment declares it."""
    bodies = yaml.safe_load_all((HERE / "enrichments.yaml").read_text())
    return float(next(body["spec"]["hotspots"]["threshold"] for body in bodies if "hotspots" in body["spec"]))
