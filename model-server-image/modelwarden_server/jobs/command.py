"""The command line of Jobs:

    python -m modelwarden_server job profile --store URL --dataset NAME --content-hash H
    python -m modelwarden_server job reference --store URL --dataset NAME --source-hash H --source JSON

The key comes from MODELWARDEN_JOB_KEY or the file that MODELWARDEN_JOB_KEY_FILE names, never from an
argument. Exit codes: 0 done, 1 the store was away (start the Job again), 2 it is of no use to start the Job
again.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelwarden.resources.sources import Source
from modelwarden_server.jobs.profile import ProfileTask, UnprofilableError, run_profile
from modelwarden_server.jobs.profile import tell_failure as tell_profile_failure
from modelwarden_server.jobs.reference import LoadTask, run_load
from modelwarden_server.jobs.reference import tell_failure as tell_load_failure
from modelwarden_server.jobs.sources import SourceAwayError, SourceError, Surroundings
from modelwarden_server.jobs.store_client import StoreAwayError, StoreClient, StoreRefusedError

DONE, AGAIN, NEVER = 0, 1, 2


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the Job that `argv` names; its exit code. One JSON line on standard output for each step."""
    parser = argparse.ArgumentParser(prog="modelwarden_server job", description="Runs one Job of a cell.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    profile = kinds.add_parser("profile", help="profile a closed reference dataset")
    profile.add_argument("--store", required=True, help="URL of the cell's store")
    profile.add_argument("--dataset", required=True, help="name of the dataset")
    profile.add_argument("--content-hash", required=True, help="hash of the dataset's content")
    profile.add_argument("--workdir", type=Path, help="folder for the files while they are worked on")
    _add_reference(kinds.add_parser("reference", help="load a reference dataset from its source"))
    given = parser.parse_args(argv)
    tell = Teller(given.kind)
    try:
        key = _key(environ)
    except (OSError, ValueError) as error:
        tell("failed", error=str(error))
        return NEVER
    with StoreClient(given.store, key) as store:
        if given.kind == "profile":
            profiling = ProfileTask(given.dataset, given.content_hash, given.workdir)
            return _done(
                _Work(
                    lambda: run_profile(profiling, store, tell),
                    lambda message: tell_profile_failure(profiling, store, message),
                    (StoreAwayError,),
                    (StoreRefusedError, UnprofilableError),
                ),
                given.dataset,
                tell,
            )
        try:
            loading = _load_task(given, environ)
        except ValueError as error:
            tell("failed", error=str(error))
            return NEVER
        return _done(
            _Work(
                lambda: run_load(loading, store, tell),
                lambda message: tell_load_failure(loading, store, message),
                (StoreAwayError, SourceAwayError, OSError),
                (StoreRefusedError, SourceError),
            ),
            given.dataset,
            tell,
        )


@dataclass(frozen=True)
class _Work:
    """A Job: what it does, whom it tells in vain, which errors pass by themselves and which do not."""

    do: Callable[[], None]
    tell_failure: Callable[[str], None]
    passing: tuple[type[Exception], ...]
    final: tuple[type[Exception], ...]


def _done(work: _Work, dataset: str, tell: "Teller") -> int:
    started = time.monotonic()
    try:
        work.do()
    except work.final as error:
        tell("failed", dataset=dataset, error=str(error), again=False)
        work.tell_failure(str(error))
        return NEVER
    except work.passing as error:
        tell("failed", dataset=dataset, error=str(error), again=True)
        work.tell_failure(str(error))
        return AGAIN
    tell("done", dataset=dataset, seconds=round(time.monotonic() - started, 3))
    return DONE


def _add_reference(reference: argparse.ArgumentParser) -> None:
    reference.add_argument("--store", required=True, help="URL of the cell's store")
    reference.add_argument("--dataset", required=True, help="name of the dataset")
    reference.add_argument("--source-hash", required=True, help="what the operator calls the source")
    reference.add_argument("--source", required=True, help="spec.source of the ReferenceDataset, as JSON")
    reference.add_argument("--format", choices=("parquet", "json"), default="parquet", help="of the files")
    reference.add_argument("--mount", type=Path, default=Path("/source"), help="where a claim is mounted")
    reference.add_argument("--credentials", type=Path, help="folder with the credentials of an object store")
    reference.add_argument("--workdir", type=Path, help="folder for the files while they are sent")
    reference.add_argument("--max-bytes", type=int, default=4 << 30, help="most bytes of one file")


def _load_task(given: argparse.Namespace, environ: Mapping[str, str]) -> LoadTask:
    bundle = environ.get("MODELWARDEN_CA_BUNDLE")
    around = Surroundings(
        workdir=given.workdir or Path(tempfile.gettempdir()),
        mount=given.mount,
        credentials=given.credentials,
        ca_bundle=None if bundle is None else Path(bundle),
        most_bytes=given.max_bytes,
    )
    source = Source.model_validate_json(given.source)
    return LoadTask(given.dataset, given.source_hash, source, given.format, around)


@dataclass(frozen=True)
class Teller:
    """Writes one JSON line: when, which Job, what, and its facts. No values of rows."""

    job: str

    def __call__(self, event: str, **facts: Any) -> None:
        line = {"time": datetime.now(UTC).isoformat(), "job": self.job, "event": event, **facts}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _key(environ: Mapping[str, str]) -> str:
    if key := environ.get("MODELWARDEN_JOB_KEY", "").strip():
        return key
    if path := environ.get("MODELWARDEN_JOB_KEY_FILE"):
        return Path(path).read_text(encoding="ascii").strip()
    raise ValueError("set MODELWARDEN_JOB_KEY, or MODELWARDEN_JOB_KEY_FILE to a file that holds it")
