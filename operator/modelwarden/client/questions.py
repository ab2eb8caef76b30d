"""Questions about drift, as people put them and as a cell reads them.

What this module must not do: send them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelwarden.client.errors import ClientError
from modelwarden.client.rows import TIME


@dataclass(frozen=True)
class DriftScope:
    """What drift is asked of: only inferences that all `conditions` hold for, as `{"property", "comparator",
    "value"}`; from the first time (included) to the second (excluded), None is open; each value of the
    attributes in `group_by` by itself.
    """

    between: tuple[datetime | None, datetime | None] = (None, None)
    conditions: Sequence[Mapping[str, Any]] = ()
    group_by: Sequence[str] = ()


def drift_question(scope: DriftScope) -> dict[str, Any]:
    """The part of a drift query that says what is compared with what. Raises ClientError."""
    narrowing = [dict(condition) for condition in scope.conditions]
    narrowing += [
        {"property": TIME, "comparator": comparator, "value": _with_zone(moment).isoformat()}
        for comparator, moment in zip(("gte", "lt"), scope.between, strict=True)
        if moment is not None
    ]
    asked: dict[str, Any] = {
        "base": {"source": "reference"},
        "target": {"source": "inference", "filter": narrowing},
    }
    groups = [{"property": name} for name in scope.group_by]
    return asked | {"group_by": groups} if groups else asked


def _with_zone(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ClientError("the times in `between` need a time zone, for example UTC")
    return moment
