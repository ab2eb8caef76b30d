"""What came of sending: how many rows were taken, and which were refused and why.

What this module must not do: anything but hold values. It never holds the contents of a row that was sent,
only its id or its place.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RefusedRow:
    """A row that the cell did not take: your id for it, the row's own status (400, 409, …) and the cell's
    reason.
    """

    id: str
    status: int
    message: str


@dataclass(frozen=True)
class SendReport:
    """Rows sent, rows acknowledged (durable at the cell), rows refused by name; `not_sent` are rows without
    any label where labels were to be sent.
    """

    sent: int = 0
    acknowledged: int = 0
    refused: tuple[RefusedRow, ...] = field(default=())
    not_sent: int = 0

    def __add__(self, other: "SendReport") -> "SendReport":
        return SendReport(
            sent=self.sent + other.sent,
            acknowledged=self.acknowledged + other.acknowledged,
            refused=self.refused + other.refused,
            not_sent=self.not_sent + other.not_sent,
        )


@dataclass(frozen=True)
class UploadReport:
    """Reference rows the cell counted, and the number of requests they went in."""

    rows: int = 0
    parts: int = 0


@dataclass(frozen=True)
class RowFailure:
    """Why a row of a file was not taken: the row's own status and the cell's reason, which begins with the
    row's place in the file (the first row is row 1).
    """

    status: int
    message: str


@dataclass(frozen=True)
class FileReport:
    """Rows of a file that the cell read, that it acknowledged (durable), that it refused.

    `failures` are the first of the refused ones (the cell lists a hundred), `ignored_columns` the columns
    that are no attributes of the model.
    """

    rows: int
    acknowledged: int
    refused: int
    failures: tuple[RowFailure, ...] = ()
    ignored_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inference:
    """One inference as it is stored: its columns with the newest label in `row`, and every label it ever
    got in `labels`, the newest first.
    """

    row: dict[str, Any]
    labels: tuple[dict[str, Any], ...]
