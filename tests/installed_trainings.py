"""Trainings of one trivial kind over a real folder, without a cell: artefacts brought, processes begun."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import census_like
import numpy as np
from trivial_training import TrivialKind

from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.analysis.artefact import Artefact, pack
from modelwarden_server.enrichments.installations import Installations
from modelwarden_server.enrichments.kind import Facts, Pending, Wish, input_hash
from modelwarden_server.enrichments.registry import Registry
from modelwarden_server.store.artefacts import ArtefactStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
IDENTITY, SETTINGS = census_like.identity(), census_like.settings()
FACTS = Facts(IDENTITY, SETTINGS, None, None, NOW)


class Wishing(TrivialKind):
    """Wishes what it is told."""

    wish: Wish = Pending(("a closed reference dataset",))

    def wanted(self, facts: Facts) -> Wish:
        return self.wish


def inputs(n: int) -> dict[str, Any]:
    return {"reference": f"{n:064x}", "column": "age"}


def hash_of(n: int) -> str:
    return input_hash("trivial", 1, inputs(n))


def artefact(n: int, number: float | None = None, **manifest: Any) -> Artefact:
    told = {"inputHash": hash_of(n), "inputs": inputs(n)} | manifest
    return Artefact("trivial", told, {"sum": np.array([float(n) if number is None else number])})


def opened(folder: Path, kind: TrivialKind) -> Installations:
    """As at a start of the process."""
    registry = Registry(folder / "enrichments", ArtefactStore(folder / "artefacts"), [kind.name])
    made = Installations([kind], registry, lambda: FACTS, lambda: NOW)
    made.start()
    return made


def install(made: Installations, n: int, number: float | None = None) -> str:
    content = pack(artefact(n, number))
    return made.install("trivial", hash_of(n), content, artefact(n, number))


def only(made: Installations) -> EnrichmentReport:
    (report,) = made.reports()
    return report
