"""Bias mitigation as a kind of training: what it waits for, and the thresholds that are there to be shown.

Nothing here is ever applied to a row: people take the thresholds, and the responsibility, themselves.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from starlette.routing import BaseRoute

from modelwarden.resources.cell import CellIdentity, MitigationSettings
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.fairness.comparison import LEAST_ROWS
from modelwarden_server.analysis.mitigation.result import read
from modelwarden_server.analysis.performance.groups import MAX_ATTRIBUTES, MAX_GROUPS
from modelwarden_server.analysis.performance.outcome import Outcome, Task, outcome_of
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments.curves import CurveDoor, InUse
from modelwarden_server.enrichments.kind import (
    REFERENCE,
    Disabled,
    EnrichmentType,
    Facts,
    InstalledTraining,
    Pending,
    Wanted,
    Wish,
)
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

_OFF: Final = Disabled(
    "TurnedOff", "off, as it is unless an Enrichment of the type BiasMitigation is applied and enabled"
)
_NOT_BINARY: Final = Disabled(
    "NotForThisModel",
    "bias mitigation is for models that tell two classes apart by a score with a ground truth",
)


class BiasKind:
    """See TrainedKind; a room, too, with the doors of what is installed."""

    name = "bias"
    type: EnrichmentType | None = "BiasMitigation"
    version = 1

    def __init__(self, cell: Cell) -> None:
        self._identity: CellIdentity = cell.identity
        self._in_use: InUse | None = None
        self._door = CurveDoor(cell.identity, lambda: self._in_use)

    def wanted(self, facts: Facts) -> Wish:
        """See TrainedKind."""
        settings = facts.settings.enrichments.bias_mitigation
        outcome = outcome_of(facts.identity.attributes, facts.identity.output_type)
        if outcome is None or outcome.task is not Task.BINARY:
            return _NOT_BINARY
        if not settings.enabled:
            return _OFF
        missing = tuple(_missing(facts, settings, outcome))
        if missing:
            return Pending(missing)
        assert facts.dataset is not None
        return Wanted(
            {
                "dataset": facts.dataset.name,
                REFERENCE: facts.dataset.content_hash,
                "attributes": [_spec(a) for a in _chosen(facts.identity, settings)],
                "constraints": list(dict.fromkeys(settings.constraints)),
                "threshold": facts.settings.classifier_threshold,
                "least_rows": LEAST_ROWS,
            }
        )

    def check(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind."""
        del training
        found = read(artefact.manifest, artefact.arrays)
        known = {a.name for a in self._identity.attributes}
        for one in found.manifest.attributes:
            if one.attribute not in known:
                raise ValueError(f"the model has no attribute {one.attribute[:100]!r}")

    def install(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind."""
        self._in_use = InUse(read(artefact.manifest, artefact.arrays), training)

    def uninstall(self) -> None:
        """See TrainedKind."""
        self._in_use = None

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return self._door.routes()

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        del store
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""


def _chosen(identity: CellIdentity, settings: MitigationSettings) -> list[ResolvedAttribute]:
    found = [a for a in identity.attributes if a.monitor_for_bias and not a.implicit]
    if settings.attributes:
        found = [a for a in found if a.name in settings.attributes]
    return found[:MAX_ATTRIBUTES]


def _spec(attribute: ResolvedAttribute) -> dict[str, Any]:
    """The groups as they are declared; neither values nor ranges: the most frequent values in the data."""
    return {
        "name": attribute.name,
        "values": list(attribute.categories[:MAX_GROUPS]),
        "ranges": [[b.continuous_start, b.continuous_end] for b in attribute.bins[:MAX_GROUPS]],
    }


def _missing(facts: Facts, settings: MitigationSettings, outcome: Outcome) -> Iterator[str]:
    if not any(a.monitor_for_bias for a in facts.identity.attributes):
        yield "an attribute with monitorForBias"
    monitored = {a.name for a in facts.identity.attributes if a.monitor_for_bias}
    for name in settings.attributes:
        if name not in monitored:
            yield f"monitorForBias on the attribute {name}"
    if facts.dataset is None:
        yield "a closed reference dataset"
    elif facts.profile is None:
        yield "the profile of the reference dataset"
    elif not _labelled(facts.profile, outcome):
        yield f"labels ({outcome.truth_columns[0]}) in the reference dataset"


def _labelled(profile: ReferenceProfile, outcome: Outcome) -> bool:
    column = profile.column(outcome.truth_columns[0])
    if column is None:
        return False
    return column.rows > sum(column.counts[cell] for cell in column.cells.missing)
