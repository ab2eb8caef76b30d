"""What a request with rows comes to: columns of the good rows, and a reason for each bad one."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Places = npt.NDArray[np.int64]


class BodyError(ValueError):
    """The body as a whole is not what it should be: a 400. The message says where and what to send."""


class TooManyRowsError(ValueError):
    """More rows than a request may hold: a 413."""

    def __init__(self, most: int) -> None:
        super().__init__(f"too many rows in one request: at most {most} are taken, send the rest in another")


@dataclass(frozen=True)
class Limits:
    """What one request may hold, and what its timestamps may say. `latest` is microseconds since 1970.

    `batch` is the batch of rows that name none themselves.
    """

    rows: int
    string_length: int
    latest: int
    batch: str | None = None


@dataclass(frozen=True)
class ParsedRows:
    """`rows[i]` stood at `places[i]` in the request; `truth[j]` is the label of `rows[truth_rows[j]]`.

    `refused` maps the place of each other row to its reason.
    """

    total: int
    rows: pa.RecordBatch
    places: Places
    truth: pa.RecordBatch
    truth_rows: Places
    refused: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParsedLabels:
    """Labels that come without their inferences: `labels[i]` stood at `places[i]` in the request."""

    total: int
    labels: pa.RecordBatch
    places: Places
    refused: dict[int, str] = field(default_factory=dict)
