"""What came of sending: how many rows were taken, and which were refused and why.

What this module must not do: anything but hold values. It never holds a row's contents, only its id.
"""

from dataclasses import dataclass, field


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
    """Rows sent, rows acknowledged (durable at the cell), rows refused by name."""

    sent: int = 0
    acknowledged: int = 0
    refused: tuple[RefusedRow, ...] = field(default=())

    def __add__(self, other: "SendReport") -> "SendReport":
        return SendReport(
            sent=self.sent + other.sent,
            acknowledged=self.acknowledged + other.acknowledged,
            refused=self.refused + other.refused,
        )


@dataclass(frozen=True)
class UploadReport:
    """Reference rows the cell counted, and the number of requests they went in."""

    rows: int = 0
    parts: int = 0
