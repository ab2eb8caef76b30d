"""The Python SDK: send inferences and labels to a cell, upload its reference, ask it what it sees. Needs
httpx, pyarrow and pandas; its command line rich as well.

    from modelwarden.client import Cell

    with Cell("http://localhost:8080", key="…") as cell:
        cell.send(frame)
        cell.send_labels(labels)
        print(cell.drift(["AGEP", "SCHL"], rollup="month"))

What it must not do: import pydantic, the operator or the server. Names are loaded when first used, so that
the command line can say in one sentence which extra is missing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelwarden.client.api import Cell
    from modelwarden.client.errors import (
        CellError,
        ClientError,
        FileRowsRefusedError,
        RowsRefusedError,
        SendInterruptedError,
    )
    from modelwarden.client.questions import DriftScope
    from modelwarden.client.reports import (
        FileReport,
        Inference,
        RefusedRow,
        RowFailure,
        SendReport,
        UploadReport,
    )
    from modelwarden.client.sending import Sending
    from modelwarden.client.uploads import FileSending
    from modelwarden.client.wire import Patience

_HOME = {
    "Cell": "api",
    "CellError": "errors",
    "ClientError": "errors",
    "DriftScope": "questions",
    "FileReport": "reports",
    "FileRowsRefusedError": "errors",
    "FileSending": "uploads",
    "Inference": "reports",
    "Patience": "wire",
    "RefusedRow": "reports",
    "RowFailure": "reports",
    "RowsRefusedError": "errors",
    "SendInterruptedError": "errors",
    "SendReport": "reports",
    "Sending": "sending",
    "UploadReport": "reports",
}

__all__ = [
    "Cell",
    "CellError",
    "ClientError",
    "DriftScope",
    "FileReport",
    "FileRowsRefusedError",
    "FileSending",
    "Inference",
    "Patience",
    "RefusedRow",
    "RowFailure",
    "RowsRefusedError",
    "SendInterruptedError",
    "SendReport",
    "Sending",
    "UploadReport",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
