"""Which module trains which kind. Imported only when such a training runs: they bring scikit-learn."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast

from modelwarden_server.jobs.training import Trainer, UntrainableError

TRAINERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "anomaly": "modelwarden_server.jobs.train_anomaly",
        "loss": "modelwarden_server.jobs.train_loss",
        "bias": "modelwarden_server.jobs.train_bias",
        "hotspots": "modelwarden_server.jobs.train_hotspots",
    }
)
"""Modules with a function `train`, which is a Trainer."""


def trainer_of(kind: str, known: Mapping[str, str] = TRAINERS) -> Trainer:
    """The trainer of that kind. Raises UntrainableError if this image has none."""
    if kind not in known:
        raise UntrainableError(f"this image cannot train {kind}: store and Job need the same image")
    return cast("Trainer", importlib.import_module(known[kind]).train)
