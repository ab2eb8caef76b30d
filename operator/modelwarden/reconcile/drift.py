"""Does a live object still say what we want it to? Pure, and the reason a no-op reconcile writes nothing.

A manifest is stamped with the hash of itself. The live object is as wanted when it carries that stamp (so no
field has been dropped from the intent since) and holds every value of the intent (so nobody has edited one).
What others added beside our fields is theirs.
"""

import hashlib
import json
import re
from decimal import Decimal
from typing import Any

from modelwarden.reconcile.ports import Manifest

STAMP = "modelwarden.dev/intent"
_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_UNITS = {"m": Decimal("0.001"), None: Decimal(1)} | {
    unit: Decimal(base) ** power
    for base, units in ((1000, "k M G T P E"), (1024, "Ki Mi Gi Ti Pi Ei"))
    for power, unit in enumerate(units.split(), start=1)
}
# What tells the items of a list apart to the API server. Mounts come first: many may name one volume.
_NAMED = ("mountPath", "containerPort", "name")


def stamp_of(manifest: Manifest) -> str:
    """The first hex digits of a manifest's hash."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stamped(manifest: Manifest) -> Manifest:
    """A copy of the manifest with its own hash as an annotation."""
    meta = manifest["metadata"]
    annotations = meta.get("annotations", {}) | {STAMP: stamp_of(manifest)}
    return manifest | {"metadata": meta | {"annotations": annotations}}


def differs(intent: Manifest, live: Manifest) -> str | None:
    """The path of the first field of a stamped intent that the live object lacks; None if it holds all."""
    return _differs(intent, live, "")


def _differs(intent: Any, live: Any, path: str) -> str | None:
    if isinstance(intent, dict):
        return _map_differs(intent, live, path)
    if isinstance(intent, list):
        return _list_differs(intent, live, path)
    return None if _same_scalar(intent, live) else path


def _map_differs(intent: dict[str, Any], live: Any, path: str) -> str | None:
    if live is None and not intent:
        return None
    if not isinstance(live, dict):
        return path
    for name, wanted in intent.items():
        found = _differs(wanted, live.get(name), f"{path}.{name}" if path else name)
        if found is not None:
            return found
    return None


def _list_differs(intent: list[Any], live: Any, path: str) -> str | None:
    if not intent:
        return path if live else None
    if not isinstance(live, list):
        return path
    merge_key = next((key for key in _NAMED if _tells_apart(key, intent)), None)
    if merge_key is None:
        if len(intent) != len(live):
            return path
        pairs = [
            (f"{path}[{n}]", wanted, found)
            for n, (wanted, found) in enumerate(zip(intent, live, strict=True))
        ]
    else:
        # Lists of named things are maps to the API server: others may have added their own.
        by_name = {item.get(merge_key): item for item in live if isinstance(item, dict)}
        pairs = [(f"{path}[{i[merge_key]}]", i, by_name.get(i[merge_key])) for i in intent]
    for where, wanted, found in pairs:
        if (different := _differs(wanted, found, where)) is not None:
            return different
    return None


def _tells_apart(key: str, items: list[Any]) -> bool:
    if not all(isinstance(item, dict) and key in item for item in items):
        return False
    return len({item[key] for item in items}) == len(items)


def _same_scalar(intent: Any, live: Any) -> bool:
    if intent == live:
        return True
    # The API server rewrites quantities ("1000m" comes back as "1").
    if isinstance(intent, str) and isinstance(live, str):
        wanted, found = _number(intent), _number(live)
        return wanted is not None and wanted == found
    return False


def _number(text: str) -> Decimal | None:
    match = _QUANTITY.match(text)
    return Decimal(match[1]) * _UNITS[match[2]] if match else None
