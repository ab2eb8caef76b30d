"""Objects of our kinds at a real API server: made, changed and refused, without any operator."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelwarden.resources.meta import API_VERSION, GROUP, VERSION
from testbed.api_client import ApiClient, ApiError, wait_until

CRDS = Path(__file__).resolve().parents[1] / "crds"
PLURALS = {
    "MonitoredModel": "monitoredmodels",
    "ReferenceDataset": "referencedatasets",
    "Enrichment": "enrichments",
}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
Body = dict[str, Any]
# Seconds. The largest models take the API server some, a busy machine's API server many.
PATIENCE = 240.0


def definitions() -> list[Body]:
    """The CustomResourceDefinitions as they are committed."""
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CRDS.glob("*.yaml"))]


def condition(body: Body, type_: str) -> str | None:
    """The status of one condition of a definition."""
    listed = body.get("status", {}).get("conditions", [])
    return next((str(c["status"]) for c in listed if c["type"] == type_), None)


@dataclass(frozen=True)
class Objects:
    """Our kinds in one namespace."""

    client: ApiClient
    namespace: str

    def _request(self, method: str, path: str, body: Body | None = None, *kind: str) -> Body:
        """An API server that has no time for a large object says 504 after half a minute, whatever the client
        would wait for; what is asked here may then be asked again, as any client may.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                answer: Body = self.client.request(method, path, body, *kind)
            except ApiError as error:
                if error.status != 504 or time.monotonic() > until:
                    raise
            else:
                return answer

    def body(self, kind: str, spec: Body, name: str = "x") -> Body:
        return {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }

    def path(self, kind: str, name: str = "", *options: str) -> str:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{PLURALS[kind]}"
        return path + (f"/{name}" if name else "") + ("?" + "&".join(options) if options else "")

    def create(self, kind: str, spec: Body, name: str = "x", *options: str) -> Body:
        path = self.path(kind, "", *(options or ("fieldValidation=Strict",)))
        made: Body = self._request("POST", path, self.body(kind, spec, name))
        return made

    def try_creation(self, kind: str, spec: Body, name: str = "x") -> Body:
        """As `create`, but nothing is stored."""
        return self.create(kind, spec, name, "fieldValidation=Strict", "dryRun=All")

    def try_update(self, live: Body, spec: Body) -> Body:
        """Puts another spec in the place of the one there is; nothing is stored."""
        path = self.path(live["kind"], live["metadata"]["name"], "fieldValidation=Strict", "dryRun=All")
        changed: Body = self._request("PUT", path, live | {"spec": spec})
        return changed

    def apply(self, kind: str, spec: Body, name: str = "x") -> Body:
        """Server-side, as `kubectl apply --server-side` does."""
        path = self.path(kind, name, "fieldManager=test", "force=true", "fieldValidation=Strict")
        body = self.body(kind, spec, name)
        applied: Body = self._request("PATCH", path, body, "application/apply-patch+yaml")
        return applied

    def write_status(self, live: Body, status: Body) -> Body:
        path = f"{self.path(live['kind'], live['metadata']['name'])}/status"
        patched: Body = self._request("PATCH", path, {"status": status}, "application/merge-patch+json")
        return patched

    def delete(self, kind: str, name: str = "x") -> None:
        self._request("DELETE", self.path(kind, name))


def install_definitions(client: ApiClient) -> None:
    """Applies our definitions and waits until the API server serves them."""
    for body in definitions():
        path = f"{DEFINITIONS}/{body['metadata']['name']}"
        client.request("PATCH", f"{path}?fieldManager=test&force=true", body, "application/apply-patch+yaml")
    paths = [f"{DEFINITIONS}/{body['metadata']['name']}" for body in definitions()]
    wait_until(
        lambda: all(_served(client, path) for path in paths),
        180,
        lambda: json.dumps([client.get(path)["status"] for path in paths]),
    )


def _served(client: ApiClient, path: str) -> bool:
    live = client.get(path)
    if condition(live, "Established") != "True":
        return False
    plural = live["spec"]["names"]["plural"]
    try:
        client.get(f"/apis/{GROUP}/{VERSION}/{plural}?limit=1")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
