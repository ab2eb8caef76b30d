"""The Job that loads a reference dataset from its source: every file is sent to the store, then counted.

Repeatable: each attempt begins with no rows, so that the dataset holds what the source holds and nothing
else. A file with a bad row is refused as it is. Must not judge rows: the store does.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from modelwarden.resources.sources import Source
from modelwarden_server.innerwire import DATASETS
from modelwarden_server.jobs.sources import SourceError, Surroundings, check_format, files_of
from modelwarden_server.jobs.store_client import StoreClient, StoreRefusedError

Tell = Callable[..., None]
"""Takes the name of an event and its facts."""


@dataclass(frozen=True)
class LoadTask:
    """What to load from where. `source_hash` names the source as the operator does."""

    dataset: str
    source_hash: str
    source: Source
    format: str
    around: Surroundings

    @property
    def path(self) -> str:
        """The store's doors for this source of this dataset."""
        return f"{DATASETS}/{self.dataset}/source/{self.source_hash}"


def run_load(task: LoadTask, store: StoreClient, tell: Tell) -> None:
    """Do the Job. Raises SourceAwayError or StoreAwayError (try later), SourceError or StoreRefusedError (do
    not), OSError.
    """
    store.post(f"{task.path}/begin")
    records = number = 0
    with tempfile.TemporaryDirectory(dir=task.around.workdir, prefix="load-") as folder:
        around = replace(task.around, workdir=Path(folder))
        for number, file in enumerate(files_of(task.source, around), start=1):
            records += _sent(task, file, store)
            tell("sent", dataset=task.dataset, file=number, records=records)
    store.put(f"{task.path}/loaded", msgspec.json.encode({"records": records}))
    tell("loaded", dataset=task.dataset, files=number, records=records)


def tell_failure(task: LoadTask, store: StoreClient, message: str) -> None:
    """Let the store know why nothing is loaded, so that the dataset's status can say it."""
    store.tell_failure(task.path, {"message": message})


def _sent(task: LoadTask, file: Path, store: StoreClient) -> int:
    """The rows that the store took of a file."""
    check_format(file, task.format)
    try:
        answer = store.post_file(f"{task.path}/files", "reference_data", file)
    except StoreRefusedError as error:
        if error.status == 400:
            raise SourceError(f"{file.name}: {error.sentence}") from None
        raise
    return int(answer["counts"]["success"])
