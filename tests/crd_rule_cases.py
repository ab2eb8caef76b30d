"""For each CEL rule of our kinds: objects that it accepts and objects that it refuses.

A rule is known by its kind, its place in the schema and how its message begins. A rule that compares with
the old object has a `before`; the other objects are then updates of it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model_stories import INPUTS, prediction, truth

Spec = dict[str, Any]
NOTHING: Any = object()


@dataclass(frozen=True)
class Case:
    """`accepted` and `refused` are specs, or names for rules about `metadata.name`."""

    kind: str
    path: str
    rule: str
    accepted: tuple[Any, ...]
    refused: tuple[Any, ...]
    before: Spec | None = None
    says: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{self.path} {self.rule}"


def changed(spec: Spec, **places: Any) -> Spec:
    """A copy with some places changed; `a__b__0` is spec["a"]["b"][0], NOTHING removes a key."""
    result = copy.deepcopy(spec)
    for place, value in places.items():
        *way, last = [int(part) if part.isdigit() else part for part in place.split("__")]
        node: Any = result
        for part in way:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        if value is NOTHING:
            del node[last]
        else:
            node[last] = value
    return result


MODEL: Spec = {
    "inputType": "TABULAR",
    "outputType": "MULTICLASS",
    "attributes": [*INPUTS, prediction("p", 0, attributeLink="g"), truth("g", 0, attributeLink="p")],
}
SERVING: Spec = {"flow": [{"modelType": "SKLEARN", "file": "m.pkl"}], "files": {"upload": {}}}
DATASET: Spec = {"modelRef": {"name": "m"}}
BUCKET: Spec = {"objectStore": {"uri": "s3://b/p"}, "log": {"size": "1Gi"}}
KAFKA: Spec = {"kafka": {"bootstrapServers": "k:9092"}}
SOURCES: dict[str, Spec] = {
    "upload": {},
    "persistentVolumeClaim": {"claimName": "c", "path": "data/x.parquet"},
    "objectStore": {"uri": "s3://b/p"},
    "http": {"url": "https://example.org/x", "sha256": "0" * 64},
    "configMap": {"name": "c", "key": "x.json"},
}


def once(path: str, key: str, before: Spec, one: Any, other: Any, **more: Any) -> Iterator[Case]:
    """A field that cannot be changed, added or removed."""
    place = "__".join((*path.removeprefix(".spec").strip(".").split("."), key)).strip("_")
    having, lacking = changed(before, **{place: one}), before
    rule = f"{key} cannot be changed, added or removed"
    fine = {"displayName": "other", **more}
    yield Case(
        "MonitoredModel",
        path,
        rule,
        (having | fine,),
        (changed(before, **{place: other}), lacking),
        before=having,
    )
    yield Case("MonitoredModel", path, rule, (lacking | fine,), (having,), before=lacking)


def keys(path: str, place: str, before: Spec, longest: int) -> Case:
    return Case(
        "MonitoredModel",
        path,
        "a key has at most",
        (changed(before, **{place: {"k" * longest: "v"}}),),
        (changed(before, **{place: {"k" * (longest + 1): "v"}}),),
    )
