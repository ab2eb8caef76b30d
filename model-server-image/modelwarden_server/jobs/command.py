"""The command line of Jobs:

    python -m modelwarden_server job profile --store URL --dataset NAME --content-hash H
    python -m modelwarden_server job reference --store URL --dataset NAME --source-hash H --source JSON
    python -m modelwarden_server job train --store URL --kind KIND --input-hash H
    python -m modelwarden_server job assets --store URL --slot SLOT --source-hash H --source JSON
    python -m modelwarden_server job environment --store URL --environment-hash H

The key comes from MODELWARDEN_JOB_KEY or the file that MODELWARDEN_JOB_KEY_FILE names, never from an
argument. Exit codes: 0 done, 1 the store was away (start the Job again), 2 it is of no use to start the Job
again.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

from modelwarden.resources.purposes import ASSETS, ENVIRONMENT, PROFILE, REFERENCE, TRAIN
from modelwarden.resources.server import AssetSlot
from modelwarden.resources.sources import Source
from modelwarden_server.jobs.assets import AssetTask, run_assets
from modelwarden_server.jobs.assets import tell_failure as tell_asset_failure
from modelwarden_server.jobs.environment import InstallTask, run_environment
from modelwarden_server.jobs.environment import tell_failure as tell_install_failure
from modelwarden_server.jobs.installer import Installer, NotInstalledError
from modelwarden_server.jobs.profile import ProfileTask, UnprofilableError, run_profile
from modelwarden_server.jobs.profile import tell_failure as tell_profile_failure
from modelwarden_server.jobs.reference import LoadTask, run_load
from modelwarden_server.jobs.reference import tell_failure as tell_load_failure
from modelwarden_server.jobs.sources import SourceAwayError, SourceError, Surroundings
from modelwarden_server.jobs.store_client import StoreAwayError, StoreClient, StoreRefusedError
from modelwarden_server.jobs.train import TrainTask, run_train
from modelwarden_server.jobs.train import tell_failure as tell_training_failure
from modelwarden_server.jobs.training import UntrainableError

DONE, AGAIN, NEVER = 0, 1, 2


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the Job that `argv` names; its exit code. One JSON line on standard output for each step."""
    parser = argparse.ArgumentParser(prog="modelwarden_server job", description="Runs one Job of a cell.")
    kinds = parser.add_subparsers(dest="job", required=True)
    profile = kinds.add_parser(PROFILE, help="profile a closed reference dataset")
    profile.add_argument("--store", required=True, help="URL of the cell's store")
    profile.add_argument("--dataset", required=True, help="name of the dataset")
    profile.add_argument("--content-hash", required=True, help="hash of the dataset's content")
    profile.add_argument("--workdir", type=Path, help="folder for the files while they are worked on")
    _add_reference(kinds.add_parser(REFERENCE, help="load a reference dataset from its source"))
    _add_train(kinds.add_parser(TRAIN, help="train what an enrichment needs"))
    _add_assets(kinds.add_parser(ASSETS, help="fetch a file of the user's code from its source"))
    _add_environment(kinds.add_parser(ENVIRONMENT, help="install the packages that the user's code needs"))
    given = parser.parse_args(argv)
    tell = Teller(given.job)
    try:
        key = _key(environ)
    except (OSError, ValueError) as error:
        tell("failed", error=str(error))
        return NEVER
    with StoreClient(given.store, key) as store:
        try:
            work = _WORKS[given.job](given, environ, store, tell)
        except ValueError as error:
            tell("failed", error=str(error))
            return NEVER
        return _done(work, tell)


@dataclass(frozen=True)
class _Work:
    """A Job: what it does, whom it tells in vain and whether again is of use, which errors pass by themselves
    and which do not, and what its lines are about.
    """

    do: Callable[[], None]
    tell_failure: Callable[[str, bool], None]
    passing: tuple[type[Exception], ...]
    final: tuple[type[Exception], ...]
    about: Mapping[str, str]


def _done(work: _Work, tell: "Teller") -> int:
    started = time.monotonic()
    failure = _failure(work)
    if failure is None:
        tell("done", **work.about, seconds=round(time.monotonic() - started, 3))
        return DONE
    # Here the error is gone, and with it the frames that hold what filled the memory.
    sentence, again = failure
    tell("failed", **work.about, error=sentence, again=again)
    work.tell_failure(sentence, again)
    return AGAIN if again else NEVER


def _failure(work: _Work) -> tuple[str, bool] | None:
    """Do the work; what went wrong, and whether another attempt is of use."""
    try:
        work.do()
    except NotInstalledError as error:
        return str(error), error.again
    except work.final as error:
        return str(error), False
    except work.passing as error:
        return str(error), True
    except MemoryError:
        return "the Job ran out of memory: give it a higher limit, or it less to hold", True
    return None


def _profile(given: argparse.Namespace, _: Mapping[str, str], store: StoreClient, tell: "Teller") -> _Work:
    task = ProfileTask(given.dataset, given.content_hash, given.workdir)
    return _Work(
        lambda: run_profile(task, store, tell),
        lambda message, _: tell_profile_failure(task, store, message),
        (StoreAwayError,),
        (StoreRefusedError, UnprofilableError),
        {"dataset": task.dataset},
    )


def _load(given: argparse.Namespace, environ: Mapping[str, str], store: StoreClient, tell: "Teller") -> _Work:
    task = _load_task(given, environ)
    return _Work(
        lambda: run_load(task, store, tell),
        lambda message, _: tell_load_failure(task, store, message),
        (StoreAwayError, SourceAwayError, OSError),
        (StoreRefusedError, SourceError),
        {"dataset": task.dataset},
    )


def _train(given: argparse.Namespace, _: Mapping[str, str], store: StoreClient, tell: "Teller") -> _Work:
    task = TrainTask(given.kind, given.input_hash, given.workdir)
    return _Work(
        lambda: _trained(task, store, tell),
        lambda message, again: tell_training_failure(task, store, message, again=again),
        (StoreAwayError, OSError),
        (StoreRefusedError, UntrainableError),
        {"kind": task.kind, "inputHash": task.input_hash},
    )


def _trained(task: TrainTask, store: StoreClient, tell: "Teller") -> None:
    known = (StoreAwayError, StoreRefusedError, UntrainableError, OSError, MemoryError)
    try:
        run_train(task, store, tell)
    except known:
        raise
    except Exception as error:  # noqa: BLE001 - the edge of the Job; the same rows meet the same fault again
        traceback.print_tb(error.__traceback__)  # without the error's text, which may hold values of rows
        raise UntrainableError(
            f"a fault in the training ({type(error).__name__}): the Job's log tells more"
        ) from None


def _assets(
    given: argparse.Namespace, environ: Mapping[str, str], store: StoreClient, tell: "Teller"
) -> _Work:
    source = Source.model_validate_json(given.source)
    task = AssetTask(given.slot, given.source_hash, source, _surroundings(given, environ))
    return _Work(
        lambda: run_assets(task, store, tell),
        lambda message, again: tell_asset_failure(task, store, message, again=again),
        (StoreAwayError, SourceAwayError, OSError),
        (StoreRefusedError, SourceError),
        {"slot": task.slot},
    )


def _environment(
    given: argparse.Namespace, environ: Mapping[str, str], store: StoreClient, tell: "Teller"
) -> _Work:
    task = InstallTask(given.environment_hash, Installer(environ, given.seconds), given.workdir)
    return _Work(
        lambda: run_environment(task, store, tell),
        lambda message, again: tell_install_failure(task, store, message, again=again),
        (StoreAwayError, OSError),
        (StoreRefusedError,),
        {"environmentHash": task.environment_hash},
    )


_WORKS: Final[Mapping[str, Callable[..., _Work]]] = {
    PROFILE: _profile,
    REFERENCE: _load,
    TRAIN: _train,
    ASSETS: _assets,
    ENVIRONMENT: _environment,
}


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("--store", required=True, help="URL of the cell's store")
    train.add_argument("--kind", required=True, help="anomaly, loss, bias or hotspots")
    train.add_argument("--input-hash", required=True, help="hash of what the store wants trained")
    train.add_argument("--workdir", type=Path, help="folder for the rows while they are worked on")


def _add_reference(reference: argparse.ArgumentParser) -> None:
    reference.add_argument("--store", required=True, help="URL of the cell's store")
    reference.add_argument("--dataset", required=True, help="name of the dataset")
    reference.add_argument("--source-hash", required=True, help="what the operator calls the source")
    reference.add_argument("--source", required=True, help="spec.source of the ReferenceDataset, as JSON")
    reference.add_argument("--format", choices=("parquet", "json"), default="parquet", help="of the files")
    _add_surroundings(reference)


def _add_assets(assets: argparse.ArgumentParser) -> None:
    assets.add_argument("--store", required=True, help="URL of the cell's store")
    assets.add_argument("--slot", required=True, choices=get_args(AssetSlot), help="which file")
    assets.add_argument("--source-hash", required=True, help="what the operator calls the source")
    assets.add_argument("--source", required=True, help="the source as it is declared, as JSON")
    _add_surroundings(assets)


def _add_environment(environment: argparse.ArgumentParser) -> None:
    environment.add_argument("--store", required=True, help="URL of the cell's store")
    environment.add_argument("--environment-hash", required=True, help="hash of the list of packages")
    environment.add_argument("--workdir", type=Path, help="folder for the packages while they are packed")
    environment.add_argument("--seconds", type=float, default=1800.0, help="longest the installer may take")


def _add_surroundings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mount", type=Path, default=Path("/source"), help="where a claim is mounted")
    parser.add_argument("--credentials", type=Path, help="folder with the credentials of an object store")
    parser.add_argument("--workdir", type=Path, help="folder for the files while they are sent")
    parser.add_argument("--max-bytes", type=int, default=4 << 30, help="most bytes of one file")


def _load_task(given: argparse.Namespace, environ: Mapping[str, str]) -> LoadTask:
    source = Source.model_validate_json(given.source)
    return LoadTask(given.dataset, given.source_hash, source, given.format, _surroundings(given, environ))


def _surroundings(given: argparse.Namespace, environ: Mapping[str, str]) -> Surroundings:
    bundle = environ.get("MODELWARDEN_CA_BUNDLE")
    return Surroundings(
        workdir=given.workdir or Path(tempfile.gettempdir()),
        mount=given.mount,
        credentials=given.credentials,
        ca_bundle=None if bundle is None else Path(bundle),
        most_bytes=given.max_bytes,
    )


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
