"""The command line of Jobs: `python -m modelwarden_server job profile --store URL --dataset NAME
--content-hash H`.

The key comes from MODELWARDEN_JOB_KEY or the file that MODELWARDEN_JOB_KEY_FILE names, never from an
argument. Exit codes: 0 done, 1 the store was away (start the Job again), 2 it is of no use to start the Job
again.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelwarden_server.jobs.profile import ProfileTask, UnprofilableError, run_profile, tell_failure
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
    given = parser.parse_args(argv)
    try:
        key = _key(environ)
    except (OSError, ValueError) as error:
        tell("failed", error=str(error))
        return NEVER
    task = ProfileTask(given.dataset, given.content_hash, given.workdir)
    with StoreClient(given.store, key) as store:
        return _profile(task, store)


def _profile(task: ProfileTask, store: StoreClient) -> int:
    started = time.monotonic()
    try:
        run_profile(task, store, tell)
    except StoreAwayError as error:
        tell("failed", dataset=task.dataset, error=str(error), again=True)
        return AGAIN
    except (StoreRefusedError, UnprofilableError) as error:
        tell("failed", dataset=task.dataset, error=str(error), again=False)
        tell_failure(task, store, str(error))
        return NEVER
    tell("done", dataset=task.dataset, seconds=round(time.monotonic() - started, 3))
    return DONE


def tell(event: str, **facts: Any) -> None:
    """One JSON line: when, what, and its facts. No values of rows."""
    line = {"time": datetime.now(UTC).isoformat(), "job": "profile", "event": event, **facts}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _key(environ: Mapping[str, str]) -> str:
    if key := environ.get("MODELWARDEN_JOB_KEY", "").strip():
        return key
    if path := environ.get("MODELWARDEN_JOB_KEY_FILE"):
        return Path(path).read_text(encoding="ascii").strip()
    raise ValueError("set MODELWARDEN_JOB_KEY, or MODELWARDEN_JOB_KEY_FILE to a file that holds it")
