"""A namespace of a real cluster with one model in it: objects applied, waited for, read again.

What this module must not do: know what a model predicts, or what a test expects of it.
"""

import base64
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from examples.census.kubectl import Kubectl, Waiting, condition, wait_for
from modelwarden.client import Cell
from testbed.cluster import Cluster

SECONDS = 300.0
"""What comes about in ten seconds here may take minutes where others are at work."""


@dataclass(frozen=True)
class ModelPlace:
    """One model, through kubectl, its store and its server."""

    cluster: Cluster
    kubectl: Kubectl
    namespace: str
    model: str

    def apply(self, kind: str, name: str, **spec: Any) -> None:
        """Applies an object of ours with that spec."""
        meta = {"name": name, "namespace": self.namespace}
        made = {"apiVersion": "modelwarden.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
        self.kubectl.apply(json.dumps(made), "--force-conflicts")

    def keep(self, name: str, files: Mapping[str, bytes]) -> None:
        """Applies a ConfigMap with those files."""
        held = {key: base64.b64encode(content).decode() for key, content in files.items()}
        meta = {"name": name, "namespace": self.namespace}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "binaryData": held}
        self.kubectl.apply(json.dumps(made))

    def patch(self, kind: str, name: str, **spec: Any) -> None:
        """Changes some fields of a spec."""
        change = ("--type", "merge", "--patch", json.dumps({"spec": spec}))
        self.kubectl.run("patch", kind, name, "--namespace", self.namespace, *change)

    def status(self) -> dict[str, Any]:
        """The model's status."""
        return dict((self.kubectl.get("mmodel", self.model, self.namespace) or {}).get("status") or {})

    def conditions(self) -> dict[str, tuple[str, str, str]]:
        """The model's conditions by their type: status, reason, message."""
        told = self.status().get("conditions", [])
        return {one["type"]: (one["status"], one["reason"], one["message"]) for one in told}

    def until(self, kind: str, *words: str, seconds: float = SECONDS) -> str:
        """Waits until the model's condition has all these words; the whole of it, as it was then."""
        told = ""

        def look() -> tuple[bool, str]:
            nonlocal told
            told = " ".join(self.conditions().get(kind, ("not there",)))
            return all(word in told for word in words), told

        wait_for(f"{kind} of {self.model} says {words}", look, Waiting(seconds))
        return told

    def until_object(self, kind: str, name: str, what: str) -> None:
        """Waits until a condition of an object is True."""

        def look() -> tuple[bool, str]:
            return condition(self.kubectl.get(kind, name, self.namespace), what)

        wait_for(f"{kind} {name} is {what}", look, Waiting(SECONDS))

    def pods(self, component: str) -> dict[str, dict[str, Any]]:
        """The pods of the model's store or server, by uid, once none is being replaced nor about to be: the
        tests run in any order, and the one before may have changed what makes a new pod.
        """
        labels = {"modelwarden.dev/model": self.model, "app.kubernetes.io/component": component}
        found: dict[str, dict[str, Any]] = {}

        def look() -> tuple[bool, str]:
            model = self.kubectl.get("mmodel", self.model, self.namespace) or {}
            # The operator tells of a generation once it has applied what follows from it.
            if not _is_told(model):
                return False, "the operator has not been at the newest spec yet"
            made = _bearing(self.kubectl.list("deployments", self.namespace), labels)
            # After them: a pod that a Deployment has promised is there.
            pods = _bearing(self.kubectl.list("pods", self.namespace), labels)
            wanted = sum(one["spec"]["replicas"] for one in made)
            leaving = [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]
            whole = all(_rolled_out(one) for one in made) and len(pods) == wanted and not leaving
            found.clear()
            found.update({pod["metadata"]["uid"]: pod for pod in pods})
            return bool(made) and whole, f"{len(pods)} pods of {wanted}, {len(leaving)} of them leaving"

        wait_for(f"no pod of {self.model}'s {component} is being replaced", look, Waiting(SECONDS))
        return found

    @property
    def key(self) -> str:
        """The cell's key, as its owners read it."""
        secret = self.kubectl.get("secret", f"{self.model}-key", self.namespace) or {}
        return base64.b64decode(secret["data"]["key"]).decode()

    @contextlib.contextmanager
    def cell(self) -> Iterator[Cell]:
        """The model's store."""
        url = self.cluster.reach(self.namespace, self.model, 8080)
        with Cell(url, self.key, self.status()["modelId"]) as opened:
            yield opened

    @contextlib.contextmanager
    def http(self, service: str | None = None) -> Iterator[httpx.Client]:
        """One of the model's Services, without our client: the store's, or that of this name."""
        url = self.cluster.reach(self.namespace, service or self.model, 8080)
        headers = {"Authorization": self.key}
        with httpx.Client(base_url=url, headers=headers, timeout=200) as opened:
            yield opened


def _bearing(objects: Iterable[dict[str, Any]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [one for one in objects if labels.items() <= (one["metadata"].get("labels") or {}).items()]


def _is_told(live: Mapping[str, Any]) -> bool:
    told = (live.get("status") or {}).get("observedGeneration")
    return bool(live) and told == live["metadata"]["generation"]


def _rolled_out(deployment: Mapping[str, Any]) -> bool:
    """As `kubectl rollout status` decides it."""
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    return (
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )
