"""Everything the SDK raises, so that a caller can tell its own mistake from the cell's answer and from a
dead line.

What this module must not do: hold row values; messages name fields and ids only.
"""

from modelwarden.client.reports import FileReport, SendReport


class ClientError(Exception):
    """Base of all: also raised by itself when what was asked for cannot be sent (a missing column, a naive
    time).
    """


class CellError(ClientError):
    """The cell answered with an error, or did not answer.

    Attributes:
        status: the HTTP status, or None when there was no answer at all.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RowsRefusedError(ClientError):
    """Some rows were refused; all others are stored. `report.refused` names each by id with the reason."""

    def __init__(self, report: SendReport) -> None:
        first = report.refused[0]
        super().__init__(
            f"{len(report.refused)} of {report.sent} rows were refused; the first, {first.id!r}: "
            f"{first.message} (status {first.status})"
        )
        self.report = report


class FileRowsRefusedError(ClientError):
    """Some rows of a file were refused; all others are stored. `report.failures` names the first of them by
    their place, with the reason.
    """

    def __init__(self, report: FileReport) -> None:
        first = f": {report.failures[0].message}" if report.failures else ""
        super().__init__(f"{report.refused} of {report.rows} rows of the file were refused; the first{first}")
        self.report = report


class SendInterruptedError(ClientError):
    """Sending ended early. `report` says what was acknowledged; sending everything again is safe, ids count
    once.
    """

    def __init__(self, report: SendReport, cause: Exception) -> None:
        super().__init__(
            f"stopped after {report.acknowledged} acknowledged rows: {cause} "
            "(sending all rows again is safe: a row that is already stored is not counted twice)"
        )
        self.report = report
