"""`modelwarden`: the command line of the SDK. Reads its arguments, calls `Cell`, prints; `local` starts a
cell here.

What this module must not do: import httpx, pyarrow or pandas before it is known that they are needed, so that
`--help` works everywhere and a missing extra is said in one sentence.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelwarden.client.api import Cell

WINDOW_NAMES = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
EXIT_OK, EXIT_FAILED, EXIT_DRIFT, EXIT_INSUFFICIENT = 0, 1, 2, 3

DESCRIPTION = "Send inferences to a model that Modelwarden watches, and ask what it sees."
EPILOG = """\
a first round, without a cluster:
  modelwarden local examples/census            # a cell from model.yaml, on http://127.0.0.1:8080; prints
  its key export MODELWARDEN_URL=http://127.0.0.1:8080 MODELWARDEN_KEY=<the key it printed> modelwarden
  upload-reference reference.parquet --close modelwarden send inferences.parquet modelwarden drift AGEP SCHL
  --by month modelwarden status

against a model in a cluster (here model `credit` in namespace `risk`):
  kubectl -n risk port-forward service/credit 8080 &
  export MODELWARDEN_URL=http://127.0.0.1:8080
  export MODELWARDEN_KEY=$(kubectl -n risk get secret credit-key -o jsonpath='{.data.key}' | base64 -d)

`modelwarden COMMAND --help` says what a command takes.
"""

SEND = """\
Sends rows and waits until each is durable at the model's server. FILE is parquet, .csv, .jsonl or .json.
A row needs partner_inference_id (yours: sending it again does not count it again), inference_timestamp
(with its zone), and the model's attributes by name. Refused rows are listed with id and reason; the rest is
stored.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code (0 well, 1 failed, 2 drift, 3 too few rows to say)."""
    parsed = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    if run is _local:
        return _local(parsed)
    missing = [name for name in ("httpx", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"modelwarden: {', '.join(missing)} not installed: pip install 'modelwarden[client]'",
            file=sys.stderr,
        )
        return EXIT_FAILED
    from modelwarden.client.errors import ClientError

    try:
        return run(parsed)
    except ClientError as reason:
        print(f"modelwarden: {reason}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "modelwarden", description=DESCRIPTION, epilog=EPILOG, formatter_class=plain
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    cell = _cell_options()

    send = commands.add_parser(
        "send", help="send inferences from a file", parents=[cell], description=SEND, formatter_class=plain
    )
    send.add_argument("file", type=Path, metavar="FILE")
    send.add_argument(
        "--label", action="append", default=[], metavar="COLUMN", help="this column is ground truth"
    )
    send.add_argument(
        "--text", action="append", default=[], metavar="COLUMN", help="CSV: this column is text, not numbers"
    )
    send.add_argument("--rows-per-request", type=int, default=1000, metavar="N")
    send.set_defaults(run=_send)

    upload = commands.add_parser(
        "upload-reference", help="upload reference rows from parquet files", parents=[cell]
    )
    upload.add_argument("files", type=Path, nargs="+", metavar="FILE")
    upload.add_argument(
        "--dataset", metavar="NAME", help="the ReferenceDataset's name (else the one that is open)"
    )
    upload.add_argument(
        "--close", action="store_true", help="close it for good afterwards, with the number of rows sent"
    )
    upload.set_defaults(run=_upload)

    drift = commands.add_parser(
        "drift", help="how far features have moved from the reference", parents=[cell]
    )
    drift.add_argument("features", nargs="*", metavar="FEATURE", help="default: those of the newest window")
    drift.add_argument("--by", choices=WINDOW_NAMES, help="one row a window, not one for all time")
    drift.add_argument("--metric", default="PSI")
    drift.add_argument("--bins", type=int, default=10)
    drift.set_defaults(run=_drift)

    status = commands.add_parser("status", help="what the model's server says of itself", parents=[cell])
    status.add_argument("--json", action="store_true", help="the whole answer")
    status.add_argument(
        "--check", action="store_true", help="exit with 2 if the newest window drifted, 3 if it is too small"
    )
    status.set_defaults(run=_status)

    local = commands.add_parser(
        "local",
        help="run a model's server here, from its YAML and a folder, without a cluster",
        description="Runs `python -m modelwarden_server local DIR`; all options are handed on.",
        add_help=False,
    )
    local.add_argument("arguments", nargs=argparse.REMAINDER, metavar="DIR …")
    local.set_defaults(run=_local)
    return parser


def _cell_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("which cell")
    group.add_argument("--url", default=os.environ.get("MODELWARDEN_URL"), help="default: $MODELWARDEN_URL")
    group.add_argument(
        "--key",
        default=os.environ.get("MODELWARDEN_KEY"),
        help="default: $MODELWARDEN_KEY (other users see arguments)",
    )
    group.add_argument(
        "--model-id", default=os.environ.get("MODELWARDEN_MODEL_ID"), help="default: asked of the cell"
    )
    return options


def _cell(parsed: argparse.Namespace) -> "Cell":
    from modelwarden.client.api import Cell
    from modelwarden.client.errors import ClientError

    for name in ("url", "key"):
        if not getattr(parsed, name):
            raise ClientError(f"no {name}: give --{name} or set MODELWARDEN_{name.upper()}")
    return Cell(parsed.url, parsed.key, parsed.model_id)


def _send(parsed: argparse.Namespace) -> int:
    from modelwarden.client.api import Sending
    from modelwarden.client.files import pieces
    from modelwarden.client.reports import SendReport

    report = SendReport()

    def heard(answered: SendReport) -> None:
        nonlocal report
        report += answered
        if sys.stderr.isatty():
            print(
                f"\r{report.acknowledged:,} acknowledged, {len(report.refused):,} refused",
                end="",
                file=sys.stderr,
            )

    sending = Sending(rows_per_request=parsed.rows_per_request, raise_on_refused=False, on_answer=heard)
    with _cell(parsed) as cell:
        for piece in pieces(parsed.file, parsed.text):
            cell.send(piece, ground_truth=parsed.label, sending=sending)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for row in report.refused:
        print(f"{row.id}\t{row.status}\t{row.message}")
    print(f"sent {report.sent}, acknowledged {report.acknowledged}, refused {len(report.refused)}")
    return EXIT_FAILED if report.refused else EXIT_OK


def _upload(parsed: argparse.Namespace) -> int:
    rows = 0
    with _cell(parsed) as cell:
        for path in parsed.files:
            report = cell.upload_reference(path, dataset=parsed.dataset)
            rows += report.rows
            print(f"{path}: {report.rows} rows in {report.parts} parts")
        if parsed.close:
            cell.close_reference(rows, dataset=parsed.dataset)
            print(f"closed with {rows} rows")
    return EXIT_OK


def _drift(parsed: argparse.Namespace) -> int:
    import pandas as pd

    from modelwarden.client.errors import ClientError

    with _cell(parsed) as cell:
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
    if frame.attrs["rows_still_waiting"]:
        print("some rows are not counted yet: ask again", file=sys.stderr)
    return EXIT_OK


def _status(parsed: argparse.Namespace) -> int:
    import json

    with _cell(parsed) as cell:
        status = cell.status()
    drift = status.get("drift") or {}
    if parsed.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(_told(status)))
    if not parsed.check:
        return EXIT_OK
    if drift.get("state") != "Ok":
        return EXIT_INSUFFICIENT
    return EXIT_DRIFT if drift.get("drifted") else EXIT_OK


def _told(status: dict[str, object]) -> list[str]:
    """The status report as lines for a person."""
    rows, references, drift = status["rows"], status["reference"], status["drift"]
    assert isinstance(rows, dict)
    assert isinstance(references, list)
    rest = (
        f"{rows['waiting']} waiting, {rows['rejectedLater']} rejected later, {rows['sampledOut']} sampled out"
    )
    lines = [
        f"model      {status['modelId']}",
        f"phase      {status['phase']}" + (f": {status['reason']}" if status.get("reason") else ""),
        f"rows       {rows['acknowledged']} acknowledged: {rows['stored']} stored, {rest}",
        f"           {rows['refused']} refused, {rows['lastHour']} taken in the last hour",
        f"newest     {status['newestInference'] or 'nothing yet'}",
    ]
    lines += [
        f"reference  {entry['name']}: {entry['state']}, {entry['records']} rows" for entry in references
    ]
    if isinstance(drift, dict):
        window = f"{drift['windowStart']} to {drift['windowEnd']}"
        lines.append(f"drift      {drift['state']}: {window}, {drift['rows']} rows")
        for feature in drift["features"]:
            if feature["drifted"]:
                lines.append(
                    f"           {feature['name']}: {feature['score']:.3f} over {feature['threshold']:.3f}"
                )
    else:
        lines.append("drift      nothing compared yet")
    return lines


def _local(parsed: argparse.Namespace) -> int:
    """Becomes the server; returns only if it cannot."""
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
    command = [sys.executable, "-m", "modelwarden_server", "local", *parsed.arguments]
    sys.stdout.flush()
    return os.execv(sys.executable, command)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
