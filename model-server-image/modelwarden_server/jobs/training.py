"""What a training is given and what it gives. Each kind has a module `jobs/train_<kind>.py` with

    def train(given: TrainingInput, tell: Tell) -> Artefact

A trainer is thin: it reads columns in pieces, has `analysis` do the numbers, and returns
`given.artefact(…)`. The same inputs give the same bytes: no clock, no randomness but `given.seed`, no order
of threads. Must not talk to the store: `given` does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.columns import Column

Tell = Callable[..., None]
"""Takes the name of an event and its facts: one line of progress. No values of rows."""

ROWS_AT_ONCE = 16_384


class UntrainableError(Exception):
    """What no second attempt mends. The message is a sentence for the model's owner: what is wrong with the
    data or the settings, and what to do. No values of rows.
    """


class Batches(Protocol):
    """A way to read rows again and again, from the beginning, in the same order."""

    def __call__(self, columns: Sequence[str] | None, rows_at_once: int) -> Iterator[pa.RecordBatch]:
        """The rows with these columns, in this order (None: all columns)."""
        ...


@dataclass(frozen=True)
class TrainingInput:
    """One training. `inputs` is what the kind's `Wanted` said."""

    kind: str
    input_hash: str
    inputs: Mapping[str, Any]
    identity: CellIdentity
    classifier_threshold: float
    columns: tuple[Column, ...]
    """Of the reference, in the order of the model's attributes (without implicit attributes)."""
    records: int
    """Rows of the reference; 0 without one."""
    seed: int
    """`inputs["seed"]`, else derived from the input hash: 0 to 2**32 - 1."""
    workdir: Path
    """An empty folder of this training's own, removed afterwards."""
    read_reference: Batches
    read_rows: Batches
    version: int = 1
    """Of the method, as the store knows it."""

    def reference(
        self, columns: Sequence[str] | None = None, rows_at_once: int = ROWS_AT_ONCE
    ) -> Iterator[pa.RecordBatch]:
        """The reference's rows, piece by piece, always in the same order; may be read several times.

        Columns are those of the reference's table: attributes and `inference_timestamp`.
        """
        return self.read_reference(columns, rows_at_once)

    def rows(
        self, columns: Sequence[str] | None = None, rows_at_once: int = ROWS_AT_ONCE
    ) -> Iterator[pa.RecordBatch]:
        """The rows that the kind gives its trainings (`GivesRows`), piece by piece. Fetched once, kept on
        the disk; may be read several times.
        """
        return self.read_rows(columns, rows_at_once)

    def artefact(
        self, rows: int, manifest: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Artefact:
        """The result, with what every manifest says: inputHash, inputs, version, seed, rows (that it was
        trained on), and the versions of libraries whose numbers are in it. `manifest` must not repeat them.
        """
        told = {
            "inputHash": self.input_hash,
            "inputs": dict(self.inputs),
            "version": self.version,
            "seed": self.seed,
            "rows": rows,
            "libraries": {"numpy": np.__version__, **manifest.get("libraries", {})},
        }
        own = {name: value for name, value in manifest.items() if name != "libraries"}
        if repeated := sorted(told.keys() & own.keys()):
            raise ValueError(f"the manifest must not repeat {', '.join(repeated)}")
        return Artefact(self.kind, told | own, arrays)


class Trainer(Protocol):
    """Trains one kind."""

    def __call__(self, given: TrainingInput, tell: Tell) -> Artefact:
        """The artefact. Raises UntrainableError for what no retry mends."""
        ...
