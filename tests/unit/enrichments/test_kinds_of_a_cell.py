"""The kinds that a cell trains are those that Jobs can train, and each says what it waits for."""

from pathlib import Path

import census_like
import pytest
from installed_trainings import FACTS, NOW

from modelwarden.resources.cell import EnrichmentSettings
from modelwarden_server.apps import furnish
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments.installations import Installations
from modelwarden_server.enrichments.kind import TrainedKind
from modelwarden_server.enrichments.registry import Registry
from modelwarden_server.jobs.trainers import TRAINERS, trainer_of
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.artefacts import ArtefactStore


@pytest.fixture
def kinds(tmp_path: Path) -> tuple[TrainedKind, ...]:
    cell = Cell(census_like.identity(), SettingsHolder(census_like.settings(), "k" * 64), tmp_path)
    return furnish(cell).enrichments.kinds


def test_each_kind_has_a_trainer_and_each_trainer_a_kind(kinds: tuple[TrainedKind, ...]) -> None:
    assert [kind.name for kind in kinds] == list(TRAINERS)
    assert all(callable(trainer_of(name)) for name in TRAINERS)
    assert {kind.name: kind.type for kind in kinds} == {
        "anomaly": "AnomalyDetection",
        "loss": None,
        "bias": "BiasMitigation",
        "hotspots": "Hotspots",
    }


def test_without_a_reference_each_kind_waits_or_is_off(
    tmp_path: Path, kinds: tuple[TrainedKind, ...]
) -> None:
    registry = Registry(tmp_path / "e", ArtefactStore(tmp_path / "a"), [kind.name for kind in kinds])
    made = Installations(kinds, registry, lambda: FACTS, lambda: NOW)
    made.start()
    states = {report.kind: (report.state, report.reason) for report in made.reports()}
    assert states["anomaly"] == ("Pending", "Waiting")
    assert states["bias"] == states["hotspots"] == ("Disabled", "TurnedOff")
    assert FACTS.settings.enrichments == EnrichmentSettings()
    assert not any(report.due for report in made.reports())
    assert all(report.message for report in made.reports())
