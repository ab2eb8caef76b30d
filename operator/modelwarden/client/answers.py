"""What a cell answers, as people want it: frames and reports.

What this module must not do: ask, or compute anything of the data.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from modelwarden.client.errors import CellError
from modelwarden.client.reports import FileReport, RowFailure
from modelwarden.client.rows import LABEL_TIME, TIME

_TIMES = (TIME, LABEL_TIME, "received_timestamp")


def file_report(answer: dict[str, Any]) -> FileReport:
    """What became of a file. Raises CellError if the answer does not say it."""
    counts = answer.get("counts")
    if not isinstance(counts, dict) or not {"success", "failure", "total"} <= counts.keys():
        raise CellError("the cell did not say what became of the file's rows: is this a cell?", 207)
    return FileReport(
        rows=int(counts["total"]),
        acknowledged=int(counts["success"]),
        refused=int(counts["failure"]),
        failures=tuple(
            RowFailure(int(failure["status"]), str(failure["message"]))
            for failure in answer.get("failures", [])
        ),
        ignored_columns=tuple(answer.get("ignored_columns", ())),
    )


def query_frame(answer: dict[str, Any]) -> pd.DataFrame:
    """A row a row of the answer; what else the answer says is in `attrs`."""
    frame = pd.DataFrame(answer.get("query_result", []))
    for name in _TIMES:
        if name in frame.columns:
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    frame.attrs.update({key: value for key, value in answer.items() if key != "query_result"})
    return frame


def drift_frame(answer: dict[str, Any], properties: Sequence[str], rollup: str | None) -> pd.DataFrame:
    """A column a property; a row a window, batch or group, by which the frame is indexed."""
    frame = pd.DataFrame(answer["query_result"])
    if rollup == "batch_id":
        frame = frame.rename(columns={"rollup": "batch_id"})
    elif "rollup" in frame.columns:
        frame["rollup"] = pd.to_datetime(frame["rollup"], utc=True)
        frame = frame.rename(columns={"rollup": "window"})
    keys = [name for name in frame.columns if name not in properties]
    if keys:
        frame = frame.set_index(keys if len(keys) > 1 else keys[0]).sort_index()
    return frame.reindex(columns=list(properties)).astype("float64")


def quality_frame(answer: dict[str, Any], properties: Sequence[str], rollup: str | None) -> pd.DataFrame:
    """A row a window or group, property and question."""
    found = []
    for row in answer["query_result"]:
        keys = {name: value for name, value in row.items() if name not in properties and name != "rows"}
        for name in properties:
            for question, finding in row.get(name, {}).items():
                found.append({**keys, "attribute": name, "question": question, **finding})
    frame = pd.DataFrame(found)
    if "rollup" in frame.columns:
        if rollup != "batch_id":
            frame["rollup"] = pd.to_datetime(frame["rollup"], utc=True)
        frame = frame.rename(columns={"rollup": "batch_id" if rollup == "batch_id" else "window"})
    return frame


def enrichments_frame(status: dict[str, Any]) -> pd.DataFrame:
    """A row a thing that is trained, from the cell's status. None of them: a cell before there were any."""
    found = [
        {
            "kind": entry["kind"],
            "type": entry["type"],
            "state": entry["state"],
            "since": entry["trainedAt"],
            "message": entry["message"],
        }
        for entry in status.get("enrichments", [])
    ]
    frame = pd.DataFrame(found, columns=["kind", "type", "state", "since", "message"])
    frame["since"] = pd.to_datetime(frame["since"], utc=True, format="ISO8601")
    return frame


def refused_part(number: int, rows: int, answer: dict[str, Any]) -> str:
    """Why a part of a reference was not taken as a whole, in a sentence."""
    counts = answer.get("counts", {})
    failures = answer.get("failures") or [{}]
    return (
        f"part {number} of the reference: {counts.get('failure', '?')} of {rows} rows were refused, "
        f"{counts.get('success', '?')} taken; the first reason: {failures[0].get('message', 'none given')}"
    )
