"""How the commands are spelled, and the help that teaches them.

What this module must not do: run anything.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from modelwarden.client import (
    anomaly_commands,
    commands,
    explain_commands,
    fair_commands,
    hotspot_commands,
    performance_commands,
)

DESCRIPTION = "Send inferences and labels to a model that Modelwarden watches, and ask what it sees."
EPILOG = """\
a first round, without a cluster:
  modelwarden local examples/census            # a cell from model.yaml, on http://127.0.0.1:8080; prints its key
  export MODELWARDEN_URL=http://127.0.0.1:8080 MODELWARDEN_KEY=<the key it printed>
  modelwarden upload-reference reference.parquet --close
  modelwarden send inferences.parquet
  modelwarden labels labels.parquet            # weeks later
  modelwarden drift AGEP SCHL --by month
  modelwarden status

against a model in a cluster (here model `credit` in namespace `risk`):
  kubectl -n risk port-forward service/credit 8080 &
  export MODELWARDEN_URL=http://127.0.0.1:8080
  export MODELWARDEN_KEY=$(kubectl -n risk get secret credit-key -o jsonpath='{.data.key}' | base64 -d)

`modelwarden COMMAND --help` says what a command takes.
"""  # noqa: E501 - a command is not broken

SEND = """\
Sends rows and waits until each is durable at the model's server. FILE is parquet, .csv, .jsonl or .json.
A row needs partner_inference_id (yours: sending it again does not count it again), inference_timestamp
(with its zone), and the model's attributes by name. Refused rows are listed with id and reason; the rest is
stored. For millions of rows `modelwarden send-file` is faster.
"""
LABELS = """\
Sends labels that became known after their inferences were sent (or before: the order does not matter).
A row needs partner_inference_id, ground_truth_timestamp (when the label became known, with its zone) and the
label attributes by name. A label sent again with another value replaces the first one in every number.
Rows in which no label is filled in are not sent.

  modelwarden labels labels.parquet
  modelwarden labels everything.csv --label defaulted --text partner_inference_id
"""
SEND_FILE = """\
Sends a parquet or JSON file (a list, or an object a line) in one request, streamed. All its good rows become
durable together; refused rows are listed with their place in the file and the reason (the first hundred).
Columns are those of `modelwarden send` and `modelwarden labels`; a file of inferences may hold labels, too.
If the line breaks, send it again: a row that is stored already is not counted again.

  modelwarden send-file january.parquet
  modelwarden send-file outcomes.parquet --labels
  modelwarden send-file run-17.parquet --batch run-17 && modelwarden close-batch run-17 --rows 50000
  modelwarden send-file scans.json --images scans/
"""
ENRICHMENTS = """\
Lists what is computed on top of the model's rows: its type (as an Enrichment declares it), its state
(Disabled, Pending, Training, Ready, Failed), since when it is in use, and why, or what is missing.
To turn one on or off, apply an Enrichment; without any, anomaly detection is on once a reference is closed.
"""
QUERY = """\
Asks a question in the documented query language (docs/queries.md). QUERY is JSON, @FILE, or - for standard
input.

  modelwarden query '{"select": [{"function": "count", "alias": "n"}]}'
  modelwarden query @by-state.json --json
"""


FORGET = """\
Has inferences and their labels deleted for good, in all tables: those of the given ids, or all that have a
value of an attribute. Their ids are refused from then on. What is out of reach (backups, copies) is listed.

  modelwarden forget loan-17 loan-18 --yes
  modelwarden forget --attribute customer --value 4711 --yes
  modelwarden forget --request 1f3c…             # what became of it
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of what it reads is the command's function."""
    plain = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        "modelwarden", description=DESCRIPTION, epilog=EPILOG, formatter_class=plain
    )
    added = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    cell: dict[str, Any] = {"parents": [_cell_options()], "formatter_class": plain}
    _sending(added, cell)
    _references(added, cell)
    _asking(added, cell)
    fair_commands.add_to(added, cell)
    performance_commands.add_to(added, cell)
    hotspot_commands.add_to(added, cell)
    anomaly_commands.add_to(added, cell)
    explain_commands.add_to(added, cell)
    # Its arguments are the server's own: see `cli.main`.
    added.add_parser("local", help="run a model's server here, from its YAML and a folder, without a cluster")
    return made


def _sending(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    send = added.add_parser("send", help="send inferences from a file", description=SEND, **cell)
    _rows(send, label="this column is ground truth")
    send.set_defaults(run=commands.send)

    labels = added.add_parser("labels", help="send labels from a file", description=LABELS, **cell)
    _rows(labels, label="this column is a label (default: all but ids and times)")
    labels.set_defaults(run=commands.labels)

    file = added.add_parser(
        "send-file", help="send a large file of inferences or labels", description=SEND_FILE, **cell
    )
    file.add_argument("file", type=Path, metavar="FILE")
    file.add_argument("--labels", action="store_true", help="the file holds labels, not inferences")
    file.add_argument("--batch", metavar="ID", help="the batch of rows that name none (batch models)")
    file.add_argument("--images", type=Path, metavar="ZIP", help="a zip, or a folder, of the rows' images")
    file.set_defaults(run=commands.send_file)

    close = added.add_parser("close-batch", help="close a batch: it takes no more rows", **cell)
    close.add_argument("batch", metavar="ID")
    close.add_argument("--rows", type=int, metavar="N", help="refuse if there are not exactly so many")
    close.set_defaults(run=commands.close_batch)


def _rows(command: argparse.ArgumentParser, label: str) -> None:
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--label", action="append", default=[], metavar="COLUMN", help=label)
    command.add_argument(
        "--text", action="append", default=[], metavar="COLUMN", help="CSV: this column is text, not numbers"
    )
    command.add_argument("--rows-per-request", type=int, default=1000, metavar="N")


def _references(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    upload = added.add_parser("upload-reference", help="upload reference rows from parquet files", **cell)
    upload.add_argument("files", type=Path, nargs="+", metavar="FILE")
    upload.add_argument(
        "--dataset", metavar="NAME", help="the ReferenceDataset's name (else the one that is open)"
    )
    upload.add_argument(
        "--close", action="store_true", help="close it for good afterwards, with the number of rows sent"
    )
    upload.set_defaults(run=commands.upload_reference)


def _asking(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    drift = added.add_parser("drift", help="how far features have moved from the reference", **cell)
    drift.add_argument("features", nargs="*", metavar="FEATURE", help="default: those of the newest window")
    drift.add_argument("--by", choices=commands.WINDOW_NAMES, help="one row a window, not one for all time")
    drift.add_argument("--metric", default="PSI")
    drift.add_argument("--bins", type=int, default=10)
    drift.set_defaults(run=commands.drift)

    query = added.add_parser("query", help="ask a question of all rows", description=QUERY, **cell)
    query.add_argument("query", metavar="QUERY")
    query.add_argument("--json", action="store_true", help="an object a line, not a table")
    query.set_defaults(run=commands.query)

    inference = added.add_parser("inference", help="one inference with all its labels, as JSON", **cell)
    inference.add_argument("id", metavar="PARTNER_INFERENCE_ID")
    inference.set_defaults(run=commands.inference)

    quality = added.add_parser("quality", help="missing, out of range and new values of features", **cell)
    quality.add_argument("features", nargs="+", metavar="FEATURE")
    quality.add_argument("--by", choices=commands.WINDOW_NAMES, help="one window a time, not all in one")
    quality.add_argument("--all", action="store_true", help="also what does not occur")
    quality.set_defaults(run=commands.quality)

    enrichments = added.add_parser(
        "enrichments",
        help="what is trained for the model, and how far it is",
        description=ENRICHMENTS,
        **cell,
    )
    enrichments.add_argument("--check", action="store_true", help="exit with 1 if a training failed")
    enrichments.set_defaults(run=commands.enrichments)

    forget = added.add_parser("forget", help="delete inferences for good", description=FORGET, **cell)
    forget.add_argument("ids", nargs="*", metavar="PARTNER_INFERENCE_ID")
    forget.add_argument("--attribute", metavar="NAME")
    forget.add_argument("--value", metavar="VALUE")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.add_argument("--request", metavar="ID", help="only tell what became of this request")
    forget.set_defaults(run=commands.forget)

    status = added.add_parser("status", help="what the model's server says of itself", **cell)
    status.add_argument("--json", action="store_true", help="the whole answer")
    status.add_argument(
        "--check", action="store_true", help="exit with 2 if the newest window drifted, 3 if it is too small"
    )
    status.set_defaults(run=commands.status)


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
