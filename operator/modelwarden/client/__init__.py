"""The Python SDK: send inferences to a cell, upload its reference, ask it about drift. Needs httpx,
pyarrow, pandas, nothing else.

    from modelwarden.client import Cell

    with Cell("http://localhost:8080", key="…") as cell:
        cell.send(frame)
        print(cell.drift(["AGEP", "SCHL"], rollup="month"))

What it must not do: import pydantic, the operator or the server. Names are loaded when first used, so that
the command line can say in one sentence which extra is missing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelwarden.client.api import Cell
    from modelwarden.client.errors import CellError, ClientError, RowsRefusedError, SendInterruptedError
    from modelwarden.client.reports import RefusedRow, SendReport, UploadReport
    from modelwarden.client.wire import Patience

_HOME = {
    "Cell": "api",
    "CellError": "errors",
    "ClientError": "errors",
    "Patience": "wire",
    "RefusedRow": "reports",
    "RowsRefusedError": "errors",
    "SendInterruptedError": "errors",
    "SendReport": "reports",
    "UploadReport": "reports",
}

__all__ = [
    "Cell",
    "CellError",
    "ClientError",
    "Patience",
    "RefusedRow",
    "RowsRefusedError",
    "SendInterruptedError",
    "SendReport",
    "UploadReport",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
