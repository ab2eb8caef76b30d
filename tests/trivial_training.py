"""The smallest kind of training: counts the reference's rows and sums a column. For tests of the machinery.

`python -m trivial_training store …` is a store that has it, `python -m trivial_training job train …` a Job
that can train it.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.enrichments.kind import (
    REFERENCE,
    Disabled,
    EnrichmentType,
    Facts,
    InstalledTraining,
    Pending,
    RowSource,
    Wanted,
    Wish,
)
from modelwarden_server.jobs.training import Tell, TrainingInput, UntrainableError

NAME = "trivial"


@dataclass
class TrivialKind:
    """Follows the settings of anomaly detection: off, or a seed. In use: `sum`."""

    name: str = NAME
    type: EnrichmentType | None = "AnomalyDetection"
    version: int = 1
    sum: float | None = None
    installed: InstalledTraining | None = None
    history: list[str] = field(default_factory=list)

    def wanted(self, facts: Facts) -> Wish:
        settings = facts.settings.enrichments.anomaly_detection
        if not settings.enabled:
            return Disabled("TurnedOff", "its Enrichment says enabled: false")
        if facts.dataset is None or facts.dataset.content_hash is None:
            return Pending(("a closed reference dataset",))
        if facts.profile is None:
            return Pending(("the profile of the reference",))
        inputs = {REFERENCE: facts.dataset.content_hash, "column": "age"}
        return Wanted(inputs if settings.seed is None else inputs | {"seed": settings.seed})

    def check(self, artefact: Artefact, training: InstalledTraining) -> None:
        if set(artefact.arrays) != {"sum"} or artefact.arrays["sum"].shape != (1,):
            raise ValueError("one array named sum, of one number, is expected")

    def install(self, artefact: Artefact, training: InstalledTraining) -> None:
        self.sum, self.installed = float(artefact.arrays["sum"][0]), training
        self.history.append(f"install {training.input_hash[:8]}")

    def uninstall(self) -> None:
        self.sum = self.installed = None
        self.history.append("uninstall")

    def rows(self, inputs: Mapping[str, Any], columns: Sequence[str]) -> RowSource:
        schema = pa.schema([("n", pa.int64()), ("m", pa.string())])
        unknown = set(columns) - set(schema.names)
        if unknown:
            raise ValueError(f"there is no column {', '.join(unknown)}")
        chosen = pa.schema([schema.field(name) for name in columns or schema.names])

        def batches() -> Iterator[pa.RecordBatch]:
            for piece in range(5):
                whole = pa.record_batch(
                    {"n": pa.array(range(piece * 1000, piece * 1000 + 1000)), "m": pa.array(["x"] * 1000)}
                )
                yield whole.select(chosen.names)

        return RowSource(chosen, batches())


def train(given: TrainingInput, tell: Tell) -> Artefact:
    """Does what the environment says: waits for a file to be gone, takes too much memory, fails."""
    total = rows = 0
    for batch in given.reference([given.inputs["column"]]):
        total += int(np.nansum(batch.column(0).to_numpy(zero_copy_only=False)))
        rows += batch.num_rows
    tell("summed", rows=rows)
    behave(os.environ.get("TRIVIAL", ""))
    return given.artefact(rows, {"unit": "years"}, {"sum": np.array([total + given.seed % 7], dtype="f8")})


def behave(how: str) -> None:
    what, _, about = how.partition(":")
    if what == "wait":
        Path(about + ".reached").touch()
        deadline = time.monotonic() + timedelta(minutes=1).total_seconds()
        while Path(about).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    elif what == "grow":
        kept = [np.ones(1 << 25) for _ in range(256)]
        raise AssertionError(len(kept))
    elif what == "untrainable":
        raise UntrainableError("the reference has one class only: add rows of the other")
    elif what == "bug":
        raise KeyError(" ".join(("a", "value", "of", "a", "row")))


def main() -> int:
    """The server's command line, with this kind beside the others."""
    from modelwarden_server import __main__ as server
    from modelwarden_server import apps
    from modelwarden_server.enrichments import room
    from modelwarden_server.jobs import trainers

    if sys.argv[1] == "job":
        trainers.trainer_of.__kwdefaults__ = None
        trainers.trainer_of.__defaults__ = ({NAME: "trivial_training"},)
    else:

        class WithTrivial(room.EnrichmentRoom):
            def __init__(self, cell: Any, keeper: Any, kinds: Any, loaded: Any) -> None:
                super().__init__(cell, keeper, [TrivialKind()], loaded)

        apps.EnrichmentRoom = WithTrivial  # type: ignore[misc]
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
