"""What the tests of the operator do to a cluster: make, read, change and delete, by short names.

A thin layer over the testbed's client, so that a test reads as what a user does.
"""

import base64
import json
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import yaml
from operator_process import PATIENCE, ROOT, eventually

from modelwarden.reconcile.ports import KINDS
from testbed.api_client import ApiClient, ApiError

Manifest = dict[str, Any]
_FOREIGN = "somebody-else"
# Seconds. The garbage collector looks for new kinds every 30 s only: until then it leaves children alone.
COLLECTED = 240.0


class ClusterClient:
    """An API server as a test sees it."""

    def __init__(self, client: ApiClient) -> None:
        self.client = replace(client, timeout_seconds=PATIENCE)

    def path(self, kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
        """Where objects of this kind are."""
        known = KINDS[kind]
        root = "/api/v1" if known.api_version == "v1" else f"/apis/{known.api_version}"
        tail = "".join(f"/{quote(part)}" for part in (name, subresource) if part)
        return f"{root}/namespaces/{namespace}/{known.plural}{tail}"

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """None if there is none."""
        try:
            found: Manifest = self.client.get(self.path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def all_of(self, kind: str, namespace: str, labels: str = "") -> list[Manifest]:
        query = f"?labelSelector={quote(labels)}" if labels else ""
        items: list[Manifest] = self.client.get(self.path(kind, namespace) + query)["items"]
        return items

    def create(self, manifest: Manifest) -> Manifest:
        made: Manifest = self.client.request(
            "POST", self.path(manifest["kind"], manifest["metadata"]["namespace"]), manifest
        )
        return made

    def apply(self, manifest: Manifest, manager: str = "user") -> Manifest:
        """Server-side, as kubectl and Argo CD do."""
        meta = manifest["metadata"]
        path = self.path(manifest["kind"], meta["namespace"], meta["name"])
        path += f"?fieldManager={manager}&force=true"
        applied: Manifest = self.client.request("PATCH", path, manifest, "application/apply-patch+yaml")
        return applied

    def patch(self, kind: str, namespace: str, name: str, body: Manifest, subresource: str = "") -> Manifest:
        """A merge patch by somebody else."""
        path = self.path(kind, namespace, name, subresource) + f"?fieldManager={_FOREIGN}"
        patched: Manifest = self.client.request("PATCH", path, body, "application/merge-patch+json")
        return patched

    def delete(self, kind: str, namespace: str, name: str, **options: Any) -> None:
        self.client.request("DELETE", self.path(kind, namespace, name), options or None)

    def make_namespace(self, name: str, enforce: str | None = "restricted") -> str:
        labels = {"pod-security.kubernetes.io/enforce": enforce} if enforce else {}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.client.request("POST", "/api/v1/namespaces", body)
        return name

    def install_crds(self) -> None:
        """Apply crds/ and wait until they are served: a list is refused while its cache is being filled."""
        crds = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
        for crd in crds:
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
            self.client.request(
                "PATCH", f"{path}?fieldManager=test&force=true", crd, "application/apply-patch+yaml"
            )
        for crd in crds:
            plural, version = crd["spec"]["names"]["plural"], crd["spec"]["versions"][0]["name"]
            eventually(partial(self._lists, f"/apis/{crd['spec']['group']}/{version}/{plural}"))

    def _lists(self, path: str) -> bool:
        try:
            self.client.get(path)
        except ApiError as error:
            if error.status in (404, 429, 503):
                return False
            raise
        return True

    def condition(self, kind: str, namespace: str, name: str, type_: str) -> Manifest:
        """One condition of an object; empty if it has none of that type."""
        live = self.get(kind, namespace, name)
        assert live is not None, f"{kind} {name} is gone"
        conditions = (live.get("status") or {}).get("conditions") or []
        return next((c for c in conditions if c["type"] == type_), {})

    def key_of(self, namespace: str, model: str) -> tuple[str, str]:
        """Key and model id of a cell, from the Secret made for the model's owners."""
        secret = self.get("Secret", namespace, f"{model}-key")
        assert secret is not None, "no key Secret yet"
        values = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
        return values["key"], values["model_id"]

    def events(self, kind: str, namespace: str, name: str) -> list[Manifest]:
        """Events about an object, oldest first."""
        about = {"kind": kind, "name": name}
        items = [e for e in self.all_of("Event", namespace) if about.items() <= e["involvedObject"].items()]
        return sorted(items, key=lambda event: str(event["metadata"]["creationTimestamp"]))


def explained(live: Manifest | None) -> str:
    """An object's conditions, for a failing test."""
    return json.dumps(((live or {}).get("status") or {}).get("conditions"), indent=1)
