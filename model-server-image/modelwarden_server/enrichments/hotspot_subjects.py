"""What is searched for hotspots: the reference, a closed batch, or a window of event time. Pure.

A window ends at a whole step of event time: a quarter of its length, but at least a day (windows of less than
a day follow one another), in whole days or whole five minutes. It is searched once inferences reach beyond
its end by the usual delay of labels, where one is declared. Of windows that were missed only the newest is
searched; of batches those that were closed last, the oldest of them first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400
_SLICE: Final = 300

Over = Literal["reference", "batch", "window"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One of the three. `name`: of the dataset or the batch; `content`: the dataset's content hash."""

    over: Over
    name: str = ""
    content: str = ""
    start: datetime | None = None
    end: datetime | None = None

    @property
    def key(self) -> str:
        """What it is known by."""
        match self.over:
            case "reference":
                return f"reference:{self.content}"
            case "batch":
                return f"batch:{self.name}"
            case _:
                return f"window:{instant(self.start)}/{instant(self.end)}"

    @property
    def inputs(self) -> dict[str, Any]:
        """Its part of a training's inputs. `reference` there opens the dataset's files to the Job."""
        match self.over:
            case "reference":
                return {"over": self.over, "dataset": self.name, "reference": self.content}
            case "batch":
                return {"over": self.over, "batch": self.name}
            case _:
                return {"over": self.over, "start": instant(self.start), "end": instant(self.end)}

    @property
    def told(self) -> str:
        """In words."""
        match self.over:
            case "reference":
                return f"the reference {self.name}"
            case "batch":
                return f"batch {self.name}"
            case _:
                return f"the window from {instant(self.start)} to {instant(self.end)}"


def subject_of(inputs: Mapping[str, Any]) -> Subject:
    """The subject of a training's inputs. Raises ValueError."""
    match inputs.get("over"):
        case "reference":
            return Subject("reference", str(inputs["dataset"]), str(inputs["reference"]))
        case "batch":
            return Subject("batch", str(inputs["batch"]))
        case "window":
            start, end = (datetime.fromisoformat(str(inputs[name])) for name in ("start", "end"))
            return Subject("window", start=start, end=end)
        case other:
            raise ValueError(f"hotspots are not searched over {other!r}")


def step_of(window_seconds: int) -> int:
    """Seconds between the ends of two windows."""
    step = max(window_seconds // 4, min(window_seconds, _DAY))
    return step // _DAY * _DAY if step >= _DAY else max(_SLICE, step // _SLICE * _SLICE)


def newest_window(newest: datetime, window_seconds: int, delay_seconds: int) -> Subject:
    """The newest window that is complete, with the labels that usually take `delay_seconds`."""
    step = step_of(window_seconds)
    reached = int((newest - _EPOCH).total_seconds()) - delay_seconds
    end = _EPOCH + timedelta(seconds=reached // step * step)
    return Subject("window", start=end - timedelta(seconds=window_seconds), end=end)


def instant(moment: datetime | None) -> str:
    """As ISO 8601 in UTC."""
    return "" if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
