"""The API server behind `reconcile.ports.Cluster`: plain JSON over the client library's connection.

Typed models are bypassed on purpose: an intent must be sent exactly as built (server-side apply owns what it
is sent), and a field unknown to the library's version must survive. No retries here: the daemon's loop has
the one back-off. Every request has a time limit.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from modelwarden.cluster import faults
from modelwarden.errors import Bug, ReconcileError
from modelwarden.reconcile.ports import Key, Kind, Manifest, kind_of
from modelwarden.resources.meta import FIELD_MANAGER, STATUS_FIELD_MANAGER

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_CHUNK = 500
_SERVER_OWNED = ("managedFields", "resourceVersion", "creationTimestamp", "generation", "uid")


def path_of(kind: Kind, namespace: str | None, name: str = "", subresource: str = "") -> str:
    """The URL path of an object, or of its collection without a name."""
    root = "/api/v1" if kind.api_version == "v1" else f"/apis/{kind.api_version}"
    parts = [root]
    if namespace is not None:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)


class KubernetesCluster:
    """One API server. `close()` when done."""

    def __init__(self, api: Any, timeout: float) -> None:
        self._api = api
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def close(self) -> None:
        await self._api.close()

    async def get(self, kind: Kind, key: Key) -> Manifest | None:
        path = path_of(kind, key.namespace, key.name)
        return await self._call("GET", path, f"{kind.plural} {key.namespace}/{key.name}", absent_ok=True)

    async def list(
        self, kind: Kind, namespace: str | None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        query = {name: value for name, value in selectors.items() if value} | {"limit": str(_CHUNK)}
        items: list[Manifest] = []
        while True:
            page = await self._call("GET", path_of(kind, namespace), kind.plural, query=query, verb="list")
            head = {"apiVersion": kind.api_version, "kind": kind.kind}
            items.extend(head | _lean(item) for item in _given(page).get("items", []))
            after = _given(page).get("metadata", {}).get("continue")
            if not after:
                return items
            query = query | {"continue": after}

    async def create(self, manifest: Manifest) -> Manifest:
        kind, key = kind_of(manifest), _key_of(manifest)
        path, what = path_of(kind, key.namespace), f"{kind.plural} {key.namespace}/{key.name}"
        query = {"fieldManager": FIELD_MANAGER}
        return _given(await self._call("POST", path, what, body=manifest, query=query, verb="create"))

    async def apply(self, manifest: Manifest) -> Manifest:
        forbidden = [name for name in _SERVER_OWNED if name in manifest["metadata"]]
        if forbidden or "status" in manifest:
            raise Bug(f"An intent must not carry {', '.join(forbidden) or 'status'}")
        return await self._apply(manifest, FIELD_MANAGER, "")

    async def apply_status(self, manifest: Manifest) -> Manifest:
        return await self._apply(manifest, STATUS_FIELD_MANAGER, "status")

    async def set_finalizers(self, live: Manifest, finalizers: Sequence[str]) -> Manifest:
        kind, key = kind_of(live), _key_of(live)
        # The uid guards against a namesake made since, the version against another writer's finalizer.
        meta = {
            "uid": live["metadata"]["uid"],
            "resourceVersion": live["metadata"]["resourceVersion"],
            "finalizers": list(finalizers),
        }
        path, what = path_of(kind, key.namespace, key.name), f"{kind.plural} {key.namespace}/{key.name}"
        query = {"fieldManager": FIELD_MANAGER}
        body = {"metadata": meta}
        return _given(await self._call("PATCH", path, what, body=body, query=query, content_type=_MERGE))

    async def annotate(self, live: Manifest, annotations: Mapping[str, str]) -> None:
        kind, key = kind_of(live), _key_of(live)
        path, what = path_of(kind, key.namespace, key.name), f"{kind.plural} {key.namespace}/{key.name}"
        body = {"metadata": {"uid": live["metadata"]["uid"], "annotations": dict(annotations)}}
        query = {"fieldManager": FIELD_MANAGER}
        await self._call("PATCH", path, what, body=body, query=query, content_type=_MERGE, absent_ok=True)

    async def replace(self, manifest: Manifest) -> Manifest:
        """PUT this version of an object; Conflict if it has changed since it was read."""
        kind, key = kind_of(manifest), _key_of(manifest)
        path, what = path_of(kind, key.namespace, key.name), f"{kind.plural} {key.namespace}/{key.name}"
        return _given(await self._call("PUT", path, what, body=manifest, verb="update"))

    async def delete(self, live: Manifest) -> None:
        kind, key = kind_of(live), _key_of(live)
        path, what = path_of(kind, key.namespace, key.name), f"{kind.plural} {key.namespace}/{key.name}"
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": live["metadata"]["uid"]},
        }
        await self._call("DELETE", path, what, body=options, absent_ok=True)

    async def serves(self, kinds: Sequence[Kind]) -> bool:
        """Whether the API server knows all of these kinds (CRDs may be younger than the operator)."""
        for group_version in sorted({kind.api_version for kind in kinds}):
            root = "/api/v1" if group_version == "v1" else f"/apis/{group_version}"
            found = await self._call("GET", root, f"the kinds of {group_version}", absent_ok=True)
            names = {resource["name"] for resource in (found or {}).get("resources", [])}
            if not {kind.plural for kind in kinds if kind.api_version == group_version} <= names:
                return False
        return True

    async def _apply(self, manifest: Manifest, manager: str, subresource: str) -> Manifest:
        kind, key = kind_of(manifest), _key_of(manifest)
        path = path_of(kind, key.namespace, key.name, subresource)
        what = f"{kind.plural} {key.namespace}/{key.name}"
        query = {"fieldManager": manager, "force": "true"}
        return _given(await self._call("PATCH", path, what, body=manifest, query=query, content_type=_APPLY))

    async def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        verb: str | None = None,
        absent_ok: bool = False,
    ) -> Manifest | None:
        """One request; the parsed answer, None for an accepted 404, else raises one of our errors."""
        named = verb or method.lower()
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        headers = dict(self._api.default_headers)
        headers |= {"Accept": "application/json", "Content-Type": content_type}
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            response = await self._api.call_api(method, url, headers, body, _request_timeout=self._timeout)
            payload: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise faults.from_network(error, named, what) from error
        if 200 <= response.status < 300:
            return _parse(payload, what)
        if response.status == 404 and absent_ok:
            return None
        raise faults.from_response(response.status, payload, response.headers, named, what)


def _parse(payload: bytes, what: str) -> Manifest:
    try:
        answer = json.loads(payload)
    except ValueError as error:
        raise faults.from_network(error, "read", what) from error
    if not isinstance(answer, dict):
        raise _unexpected(what)
    return _lean(answer)


def _lean(answer: Manifest) -> Manifest:
    """Without who owns which field: half of an object's size, and nobody here reads it."""
    answer.get("metadata", {}).pop("managedFields", None)
    return answer


def _unexpected(what: str) -> ReconcileError:
    return faults.from_network(ValueError("not an object"), "read", what)


def _given(answer: Manifest | None) -> Manifest:
    if answer is None:
        raise Bug("The API server sent an empty answer")
    return answer


def _key_of(manifest: Manifest) -> Key:
    return Key(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
