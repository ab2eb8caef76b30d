"""Which curves and thresholds a request wants to see. Every refusal names the parameter."""

import uuid
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.analysis.mitigation.curves import Constraint
from modelwarden_server.analysis.mitigation.result import GroupResult
from modelwarden_server.web import Refusal

_MOST_PAGE: Final = 100


def attribute_id(model_id: str, attribute: str) -> str:
    """The id of an attribute: UUIDv5 of its name in the model's namespace."""
    return str(uuid.uuid5(uuid.UUID(model_id), attribute))


@dataclass(frozen=True)
class Asked:
    """What a request wants to see. Empty: all."""

    attribute: str | None = None
    constraints: frozenset[Constraint] = frozenset()
    values: frozenset[str] = frozenset()
    numbers: tuple[float, ...] = ()
    page: int = 1
    page_size: int = _MOST_PAGE

    def wants(self, group: GroupResult) -> bool:
        """Whether a group passes the filters of values and numbers."""
        if not self.values and not self.numbers:
            return True
        return group.value in self.values or any(_inside(group, number) for number in self.numbers)


def _inside(group: GroupResult, number: float) -> bool:
    if group.value is not None:
        return False
    return (group.start is None or number > group.start) and (group.end is None or number <= group.end)


def asked_of(request: Request, identity: CellIdentity) -> Asked:
    """What a URL asks for. Raises Refusal (400)."""
    return Asked(
        attribute=_attribute(request, identity),
        constraints=frozenset(_constraint(text) for text in _listed(request, "constraint")),
        values=frozenset(_listed(request, "attribute_value")),
        numbers=tuple(_number(text) for text in _listed(request, "continuous_value")),
        page=_whole(request, "page", 1, 1_000_000),
        page_size=_whole(request, "page_size", _MOST_PAGE, _MOST_PAGE),
    )


def _listed(request: Request, name: str) -> list[str]:
    given = request.query_params
    return [text for key in (name, f"{name}[]") for text in given.getlist(key) if text]


def _attribute(request: Request, identity: CellIdentity) -> str | None:
    given = request.query_params.get("attribute_id") or request.query_params.get("attribute")
    if not given:
        return None
    monitored = [a.name for a in identity.attributes if a.monitor_for_bias]
    known = {attribute_id(identity.model_id, name): name for name in monitored} | {n: n for n in monitored}
    # The documented client writes None for an id that it does not know; with one attribute there is no doubt.
    if given == "None" and len(monitored) == 1:
        return monitored[0]
    if given not in known:
        listed = ", ".join(monitored[:20]) or "none"
        raise Refusal(
            400, f"attribute_id: must be the id or name of an attribute with monitorForBias: {listed}"
        )
    return known[given]


def _constraint(text: str) -> Constraint:
    try:
        return Constraint(text)
    except ValueError:
        raise Refusal(400, f"constraint: must be one of {', '.join(Constraint)}, not {text[:50]!r}") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number != number:
        raise Refusal(400, f"continuous_value: must be a number, not {text[:50]!r}")
    return number


def _whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:12]) <= most:
        raise Refusal(400, f"{name}: must be a whole number from 1 to {most}")
    return int(text)
