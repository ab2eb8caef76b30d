"""What people were told of hotspots, one by one, and whether somebody has taken note: New or Acknowledged.

<data>/enrichments/hotspots/insights.json, replaced in one step

An insight is known by its window and its rule: a window that is searched again changes its number and leaves
its state. At most a thousand are kept, the newest. Thread-safe. Must not know HTTP, nor what makes a hotspot.
"""

import logging
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from modelwarden_server.durable import make_folder, replace_file

log = logging.getLogger(__name__)
MOST: Final = 1000
State = Literal["New", "Acknowledged"]
STATES: Final[tuple[State, ...]] = ("New", "Acknowledged")


class Insight(msgspec.Struct, frozen=True):
    """One hotspot of one window. `region` as in the documented form; `rule` in words; `n` rows the metric is
    taken over; `rest_value` of all other rows; `windows`: in how many windows the rule was seen.
    """

    id: str
    subject: str
    batch_id: str | None
    run_id: str
    metric_type: str
    threshold_value: float | None
    region: dict[str, dict[str, Any]]
    metric_value: float
    timestamp: datetime
    window_start: datetime | None
    window_end: datetime | None
    rule: str
    n: int
    rest_value: float | None
    p_adjusted: float
    windows: int
    status: State = "New"

    @property
    def time(self) -> datetime:
        """The end of its window, else when it was found."""
        return self.window_end or self.timestamp


@dataclass(frozen=True, slots=True)
class Selection:
    """Which insights: all conditions hold; None: any. Times are of the window's end, `end_time` excluded."""

    start_time: datetime | None = None
    end_time: datetime | None = None
    status: State | None = None
    batch_id: str | None = None
    id: str | None = None

    def holds(self, one: Insight) -> bool:
        """Whether it is one of them."""
        return (
            (self.id is None or one.id == self.id)
            and (self.status is None or one.status == self.status)
            and (self.batch_id is None or one.batch_id == self.batch_id)
            and (self.start_time is None or one.time >= self.start_time)
            and (self.end_time is None or one.time < self.end_time)
        )


@dataclass
class Insights:
    """All of one cell, the newest first."""

    path: Path
    _all: tuple[Insight, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Take what was kept. What cannot be read is set aside under another name, and told in the log."""
        try:
            self._all = tuple(msgspec.json.decode(self.path.read_bytes(), type=list[Insight]))
        except FileNotFoundError:
            return
        except msgspec.DecodeError as error:
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            log.error("insights cannot be read and begin anew, see %s: %s", aside.name, error)

    def found(self, subject: str, insights: Sequence[Insight]) -> None:
        """What a window (batch) came to, in the place of what was said of it before. Raises OSError."""
        with self._lock:
            known = {one.id: one for one in self._all}
            fresh = [
                msgspec.structs.replace(one, status=known[one.id].status, timestamp=known[one.id].timestamp)
                if one.id in known
                else one
                for one in insights
            ]
            ids = {one.id for one in fresh}
            # What somebody has taken note of stays, whatever later labels say.
            kept = [
                one
                for one in self._all
                if one.id not in ids and (one.subject != subject or one.status != "New")
            ]
            self._keep([*fresh, *kept])

    def mark(self, selection: Selection, status: State) -> int:
        """Change the state of the chosen ones; how many were in another. Durable. Raises OSError."""
        with self._lock:
            changed = {one.id for one in self._all if selection.holds(one) and one.status != status}
            if changed:
                self._keep(
                    [
                        msgspec.structs.replace(one, status=status) if one.id in changed else one
                        for one in self._all
                    ]
                )
            return len(changed)

    def chosen(self, selection: Selection) -> list[Insight]:
        """The chosen ones, newest first."""
        return [one for one in self._all if selection.holds(one)]

    def groups(self, selection: Selection) -> list[dict[str, Any]]:
        """How many of the chosen ones each window or batch has, newest first."""
        found: dict[str, dict[str, Any]] = {}
        for one in self.chosen(selection):
            where = (
                {"batch_id": one.batch_id}
                if one.batch_id is not None
                else {"window_start": one.window_start, "window_end": one.window_end}
            )
            entry = found.setdefault(one.subject, where | {"timestamp": one.timestamp, "count": 0})
            entry["count"] += 1
        return list(found.values())

    def _keep(self, insights: Sequence[Insight]) -> None:
        ordered = sorted(insights, key=lambda one: one.time, reverse=True)[:MOST]
        make_folder(self.path.parent)
        replace_file(self.path, msgspec.json.encode(ordered))
        self._all = tuple(ordered)


def insight_id(model_id: str, subject: str, region: dict[str, Any], metric: str) -> str:
    """The id of a rule of a window: always the same."""
    text = msgspec.json.encode([subject, region, metric], order="deterministic").decode()
    return str(uuid.uuid5(uuid.UUID(model_id), text))
