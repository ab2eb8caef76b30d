"""What each command does: reads its file, calls `Cell`, prints, gives an exit code.

What this module must not do: know how arguments are spelled; or import httpx, pyarrow or pandas before a
command runs.
"""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelwarden.client.progress import bytes_bar, rows_bar
from modelwarden.client.telling import left_aligned, status_lines

if TYPE_CHECKING:
    from modelwarden.client.api import Cell
    from modelwarden.client.reports import SendReport
    from modelwarden.client.sending import Sending

WINDOW_NAMES = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
EXIT_OK, EXIT_FAILED, EXIT_DRIFT, EXIT_INSUFFICIENT = 0, 1, 2, 3


def send(parsed: argparse.Namespace) -> int:
    """Rows of a file as JSON requests."""
    from modelwarden.client.files import pieces
    from modelwarden.client.reports import SendReport

    report = SendReport()
    with cell_of(parsed) as cell, _sending(parsed) as sending:
        for piece in pieces(parsed.file, parsed.text):
            report += cell.send(piece, ground_truth=parsed.label, sending=sending)
    return _summed_up(report)


def labels(parsed: argparse.Namespace) -> int:
    """Labels of a file as JSON requests."""
    from modelwarden.client.files import pieces
    from modelwarden.client.reports import SendReport

    report = SendReport()
    with cell_of(parsed) as cell, _sending(parsed) as sending:
        for piece in pieces(parsed.file, parsed.text):
            report += cell.send_labels(piece, ground_truth=parsed.label, sending=sending)
    return _summed_up(report)


def send_file(parsed: argparse.Namespace) -> int:
    """A file as it is, in one request."""
    from modelwarden.client.uploads import INFERENCES, LABELS, FileSending

    kind = LABELS if parsed.labels else INFERENCES
    with cell_of(parsed) as cell, bytes_bar(parsed.file.name) as moved:
        sending = FileSending(raise_on_refused=False, on_progress=moved)
        report = cell.send_file(
            parsed.file, kind=kind, batch_id=parsed.batch, images=parsed.images, sending=sending
        )
    for failure in report.failures:
        print(f"{failure.status}\t{failure.message}")
    if report.refused > len(report.failures):
        print(f"… and {report.refused - len(report.failures)} more")
    if report.ignored_columns:
        print(f"not attributes of the model, left out: {', '.join(report.ignored_columns)}")
    print(f"read {report.rows}, acknowledged {report.acknowledged}, refused {report.refused}")
    return EXIT_FAILED if report.refused else EXIT_OK


def close_batch(parsed: argparse.Namespace) -> int:
    """Closes a batch for good."""
    with cell_of(parsed) as cell:
        cell.close_batch(parsed.batch, parsed.rows)
        batch = cell.batch(parsed.batch)
    print(f"batch {batch['id']}: {batch['status']}, {batch['records']} rows")
    return EXIT_OK


def upload_reference(parsed: argparse.Namespace) -> int:
    """Reference rows of parquet files, in parts."""
    rows = 0
    with cell_of(parsed) as cell:
        for path in parsed.files:
            report = cell.upload_reference(path, dataset=parsed.dataset)
            rows += report.rows
            print(f"{path}: {report.rows} rows in {report.parts} parts")
        if parsed.close:
            cell.close_reference(rows, dataset=parsed.dataset)
            print(f"closed with {rows} rows")
    return EXIT_OK


def drift(parsed: argparse.Namespace) -> int:
    """Drift of features, the worst first."""
    import pandas as pd

    from modelwarden.client.errors import ClientError

    with cell_of(parsed) as cell:
        features = parsed.features or [
            entry["name"] for entry in (cell.status()["drift"] or {}).get("features", [])
        ]
        if not features:
            raise ClientError("no window has been compared yet: name the features you want")
        frame = cell.drift(features, metric=parsed.metric, num_bins=parsed.bins, rollup=parsed.by)
    table = frame.loc[:, frame.max().sort_values(ascending=False).index]
    table.index = pd.Index(
        [start.strftime(WINDOW_NAMES[parsed.by]) for start in table.index] if parsed.by else ["all"]
    )
    if len(table) <= len(table.columns):
        table = table.T
    print(table.to_string(float_format=lambda score: f"{score:.3f}", na_rep="–"))
    return EXIT_OK


def query(parsed: argparse.Namespace) -> int:
    """An answer to a query, as a table or as JSON lines."""
    from modelwarden.client.errors import ClientError

    text = sys.stdin.read() if parsed.query == "-" else parsed.query
    if parsed.query.startswith("@"):
        text = Path(parsed.query[1:]).read_text(encoding="utf-8")
    try:
        body = json.loads(text)
    except ValueError as reason:
        raise ClientError(f"the query is not JSON: {reason}") from reason
    with cell_of(parsed) as cell:
        frame = cell.query(body)
    if parsed.json:
        print(frame.to_json(orient="records", lines=True, date_format="iso"), end="")
    else:
        print(frame.to_string(index=False, na_rep="–"))
    if frame.attrs.get("rows_left_out"):
        print("there are more rows: ask with limit and offset", file=sys.stderr)
    return EXIT_OK


def inference(parsed: argparse.Namespace) -> int:
    """One inference with its labels, as JSON."""
    with cell_of(parsed) as cell:
        found = cell.inference(parsed.id)
    print(json.dumps({"inference": found.row, "labels": found.labels}, indent=2))
    return EXIT_OK


def quality(parsed: argparse.Namespace) -> int:
    """Bad values of features, against the reference."""
    with cell_of(parsed) as cell:
        frame = cell.data_quality(parsed.features, rollup=parsed.by)
    if "window" in frame.columns:
        frame["window"] = frame["window"].dt.strftime(WINDOW_NAMES[parsed.by])
    if not parsed.all and len(frame):
        frame = frame[(frame["rows"] > 0) | frame["raised"]]
    shown = frame.drop(columns="p_value", errors="ignore")
    print(shown.to_string(index=False, na_rep="–", float_format=lambda share: f"{share:.4f}"))
    return EXIT_OK


def enrichments(parsed: argparse.Namespace) -> int:
    """What is computed on top of the rows, and how far it is."""
    with cell_of(parsed) as cell:
        frame = cell.enrichments()
    if not len(frame):
        print("this model's server trains nothing")
        return EXIT_OK
    frame["type"] = frame["type"].fillna("–")
    frame["since"] = frame["since"].dt.strftime("%Y-%m-%d %H:%M").fillna("–")
    print("\n".join(left_aligned([list(frame.columns), *frame.values.tolist()])))
    return EXIT_FAILED if parsed.check and (frame["state"] == "Failed").any() else EXIT_OK


def forget(parsed: argparse.Namespace) -> int:
    """Has inferences deleted for good, or tells what became of a request."""
    with cell_of(parsed) as cell:
        if parsed.request:
            found = cell.forget_request(parsed.request)
        else:
            if not parsed.yes and not _sure():
                return EXIT_FAILED
            found = cell.forget(parsed.ids, attribute=parsed.attribute, value=_plain(parsed.value))
    print(json.dumps(found, indent=2))
    return EXIT_OK


def _sure() -> bool:
    if not sys.stdin.isatty():
        print("modelwarden: forgetting cannot be undone: say --yes", file=sys.stderr)
        return False
    return input("Forgetting cannot be undone. Type yes: ").strip() == "yes"


def _plain(text: str | None) -> object:
    """A number or true and false as such, all else as text."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


def status(parsed: argparse.Namespace) -> int:
    """What the cell says of itself; as a check, an exit code."""
    with cell_of(parsed) as cell:
        report = cell.status()
    verdict = report.get("drift") or {}
    if parsed.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(status_lines(report)))
    if not parsed.check:
        return EXIT_OK
    if verdict.get("state") != "Ok":
        return EXIT_INSUFFICIENT
    return EXIT_DRIFT if verdict.get("drifted") else EXIT_OK


def local(arguments: Sequence[str]) -> int:
    """Becomes the server with these arguments; returns only if it cannot."""
    needed = ("modelwarden_server", "granian", "deltalake", "pydantic", "yaml")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"modelwarden: `local` runs the server; not installed: {', '.join(missing)}. "
            "pip install 'modelwarden[server]'",
            file=sys.stderr,
        )
        return EXIT_FAILED
    # The server takes this process's place: signals and the exit code are its own.
    command = [sys.executable, "-m", "modelwarden_server", "local", *arguments]
    sys.stdout.flush()
    return os.execv(sys.executable, command)  # noqa: S606


def cell_of(parsed: argparse.Namespace) -> "Cell":
    """The cell that the options name. Raises ClientError for one that is missing."""
    from modelwarden.client.api import Cell
    from modelwarden.client.errors import ClientError

    for name in ("url", "key"):
        if not getattr(parsed, name):
            raise ClientError(f"no {name}: give --{name} or set MODELWARDEN_{name.upper()}")
    return Cell(parsed.url, parsed.key, parsed.model_id)


@contextmanager
def _sending(parsed: argparse.Namespace) -> "Iterator[Sending]":
    from modelwarden.client.sending import Sending

    acknowledged = answered = 0
    with rows_bar() as moved:

        def heard(report: "SendReport") -> None:
            nonlocal acknowledged, answered
            acknowledged += report.acknowledged
            answered += report.sent
            moved(acknowledged, answered)

        yield Sending(rows_per_request=parsed.rows_per_request, raise_on_refused=False, on_answer=heard)


def _summed_up(report: "SendReport") -> int:
    for row in report.refused:
        print(f"{row.id}\t{row.status}\t{row.message}")
    said = f"sent {report.sent}, acknowledged {report.acknowledged}, refused {len(report.refused)}"
    print(said + (f"; {report.not_sent} rows hold no label" if report.not_sent else ""))
    return EXIT_FAILED if report.refused else EXIT_OK
