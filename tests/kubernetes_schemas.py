"""JSON schemas of every kind an API server knows, for kubeconform: from its own OpenAPI, no download.

Strict: a field that a kind does not have is an error, as with `kubectl --validate=strict`.
"""

import json
from pathlib import Path
from typing import Any

from testbed.apiserver import ApiServer

_EITHER = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
_PREFIX = "#/definitions/"


def write_schemas(api: ApiServer, folder: Path) -> str:
    """One file a kind; returns kubeconform's -schema-location for them."""
    definitions: dict[str, Any] = api.client.get("/openapi/v2")["definitions"]
    for name, schema in definitions.items():
        if "x-kubernetes-int-or-string" in schema or schema.get("format") == "int-or-string":
            definitions[name] = _EITHER
        elif "properties" in schema:
            schema.setdefault("additionalProperties", False)
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            parts = [kind["kind"], kind["group"].partition(".")[0], kind["version"]]
            file = folder / ("-".join(part for part in parts if part).lower() + ".json")
            needed = _closure(name, definitions)
            content = {"$ref": _PREFIX + name, "definitions": {key: definitions[key] for key in needed}}
            file.write_text(json.dumps(content))
    return f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"


def _closure(name: str, definitions: dict[str, Any]) -> set[str]:
    """A definition and all that it refers to."""
    found: set[str] = set()
    left = [name]
    while left:
        current = left.pop()
        if current not in found:
            found.add(current)
            left += _references(definitions[current])
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix(_PREFIX)] if isinstance(node.get("$ref"), str) else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []
