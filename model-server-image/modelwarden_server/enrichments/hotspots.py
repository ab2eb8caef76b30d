"""The kind "hotspots": which window is searched next, which rows its Job sees, and what it found.

A window (batch, reference) that is being searched stays the wanted one until its result is there; after an
hour a newer one may take its place. One with too few labels is searched again as soon as as many labels came
as it lacked; the newest one also when half as many again came. Rows and labels that arrive after the question
was put are left to the next one, so the same inputs are the same rows. Must not know HTTP.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from modelwarden.resources.attributes import InputType, Stage, ValueType
from modelwarden.resources.cell import HotspotSettings
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.hotspots.result import to_follow
from modelwarden_server.analysis.performance.outcome import Task, outcome_of
from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.enrichments.hotspot_results import Results, Searched, searched_of
from modelwarden_server.enrichments.hotspot_subjects import Subject, instant, newest_window, subject_of
from modelwarden_server.enrichments.kind import (
    Disabled,
    EnrichmentType,
    Facts,
    InstalledTraining,
    Pending,
    RowSource,
    Wanted,
    Wish,
)
from modelwarden_server.enrichments.windows import Bounds, LabelledRows
from modelwarden_server.store.batches import Batch

MOST_ROWS: Final = 200_000
_MOST_VALUES: Final = 40_000_000
_OVERTAKEN: Final = timedelta(hours=1)
_BATCHES: Final = 8
_ATTEMPTS: Final = 10
_COMPLETE: Final = 0.9
_TWO_CLASSES: Final = frozenset({"precision", "recall", "f1"})
_INPUTS: Final = frozenset({Stage.PIPELINE_INPUT, Stage.PREDICT_FUNCTION_INPUT, Stage.NON_INPUT_DATA})


@dataclass(frozen=True)
class HotspotSources:
    """Where its facts and rows come from. `closed` gives the batches that were closed last, newest first;
    `labels` how many labels are stored; `settled` returns when all that was acknowledged is in the tables;
    `told` hears of each new result.
    """

    folder: Path
    rows: LabelledRows
    closed: Callable[[int], Sequence[Batch]]
    labels: Callable[[], int]
    settled: Callable[[], None]
    told: Callable[[Searched], None] = lambda _: None


class _Pin(msgspec.Struct):
    key: str
    inputs: dict[str, Any]


@dataclass
class Hotspots:
    """See TrainedKind. `connect` before anything is asked."""

    name: str = "hotspots"
    type: EnrichmentType | None = "Hotspots"
    version: int = 1
    _sources: HotspotSources | None = None
    _results: Results | None = None
    _pin: _Pin | None = None
    _installed: Mapping[str, Any] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def connect(self, sources: HotspotSources) -> None:
        """The store is recovered: take what was kept."""
        with self._lock:
            self._sources, self._results = sources, Results(sources.folder / "results")
            self._results.load()
            self._pin = _read_pin(sources.folder / "pinned.json")

    @property
    def results(self) -> Results | None:
        """What is kept. Read by others under `lock`."""
        return self._results

    @property
    def lock(self) -> threading.RLock:
        """Held while results are read or changed."""
        return self._lock

    def wanted(self, facts: Facts) -> Wish:
        """See TrainedKind."""
        settings = facts.settings.enrichments.hotspots
        unfit = unfit_for(facts, settings)
        if unfit is not None:
            return unfit
        with self._lock:
            if self._sources is None or self._results is None:
                return Pending(("the tables",))
            if self._pinned(facts, settings):
                assert self._pin is not None
                return Wanted(self._pin.inputs)
            subject = self._next(facts, settings)
            if subject is not None:
                return Wanted(self._put_down(subject, facts, settings))
            missing = self._missing(facts, settings)
            if missing or self._installed is None:
                return Pending(missing or ("a complete window of inferences with labels",))
            return Wanted(self._installed)

    def check(self, artefact: Artefact, training: InstalledTraining) -> None:  # noqa: ARG002
        """See TrainedKind."""
        searched_of(artefact)

    def install(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind."""
        with self._lock:
            assert self._results is not None
            assert self._sources is not None
            self._installed = training.inputs
            known = self._results.get(searched_of(artefact).subject.key)
            if known is None or known.run != training.input_hash:
                self._sources.told(self._results.keep(artefact))

    def uninstall(self) -> None:
        """See TrainedKind. Insights stay: they are what people were told."""
        with self._lock:
            self._installed, self._pin = None, None
            if self._results is not None and self._sources is not None:
                self._results.forget()
                (self._sources.folder / "pinned.json").unlink(missing_ok=True)

    def rows(self, inputs: Mapping[str, Any], columns: Sequence[str]) -> RowSource:
        """See GivesRows. The schema's metadata say which rules of the window before are to be followed."""
        assert self._sources is not None
        subject = subject_of(inputs)
        if subject.over == "reference":
            raise ValueError("a search of the reference reads the reference's files")
        self._sources.settled()
        bounds = Bounds(
            until=datetime.fromisoformat(str(inputs["until"])),
            most=int(inputs["mostRows"]),
            start=subject.start,
            end=subject.end,
            batch=subject.name or None,
        )
        return self._sources.rows.source(bounds, columns, {b"follow": self._followed(inputs)})

    def _followed(self, inputs: Mapping[str, Any]) -> bytes:
        with self._lock:
            assert self._results is not None
            before = self._results.get(str(inputs.get("previous")))
            if before is None or before.run != inputs.get("previousRun"):
                return b"[]"
            told = [
                {"region": one.rule.region, "first": one.lineage.first, "windows": one.lineage.windows}
                for one in to_follow(before.result)
            ]
            return json.dumps(told).encode()

    def _pinned(self, facts: Facts, settings: HotspotSettings) -> bool:
        """Whether what is being searched still is to be."""
        pin = self._pin
        if pin is None or self._is_done(pin) or pin.inputs["minimumRows"] != settings.minimum_rows:
            return False
        if pin.inputs["over"] == "reference":
            return facts.dataset is not None and facts.dataset.content_hash == pin.inputs["reference"]
        if facts.now - datetime.fromisoformat(str(pin.inputs["until"])) < _OVERTAKEN:
            return True
        following = self._next(facts, settings)
        return following is None or following.key == pin.key

    def _is_done(self, pin: _Pin) -> bool:
        assert self._results is not None
        known = self._results.get(pin.key)
        return known is not None and dict(known.inputs) == pin.inputs

    def _next(self, facts: Facts, settings: HotspotSettings) -> Subject | None:
        """The subject that is to be searched now, or again."""
        assert self._sources is not None
        assert self._results is not None
        dataset = facts.dataset
        if dataset is not None and dataset.content_hash is not None and dataset.records:
            reference = Subject("reference", dataset.name, dataset.content_hash)
            if self._results.get(reference.key) is None:
                return reference
        if not self._sources.labels():
            return None
        candidates = self._candidates(facts, settings)
        for number, subject in reversed(list(enumerate(candidates))):
            known = self._results.get(subject.key)
            if known is None or self._grown(known, settings, newest=number == 0):
                return subject
        return None

    def _candidates(self, facts: Facts, settings: HotspotSettings) -> list[Subject]:
        """Batches or the window that could be searched, newest first."""
        assert self._sources is not None
        if facts.identity.is_batch:
            return [Subject("batch", batch.id) for batch in self._sources.closed(_BATCHES)]
        if facts.newest_inference is None:
            return []
        delay = facts.settings.monitoring.label_delay_seconds or 0
        return [newest_window(facts.newest_inference, settings.window_seconds, delay)]

    def _grown(self, known: Searched, settings: HotspotSettings, *, newest: bool) -> bool:
        """Whether enough labels came since to search it again."""
        assert self._sources is not None
        result = known.result
        if int(known.inputs["attempt"]) >= _ATTEMPTS or result.labelled >= _COMPLETE * result.rows:
            return False
        came = self._sources.labels() - int(known.inputs["labels"])
        lacked = needed(settings) - result.labelled
        if lacked > 0:
            return came >= lacked
        return newest and came >= max(1, result.labelled // 2)

    def _put_down(self, subject: Subject, facts: Facts, settings: HotspotSettings) -> dict[str, Any]:
        """The inputs of a new question, kept, so that the same is asked until it is answered."""
        assert self._sources is not None
        assert self._results is not None
        searched = sum(a.stage in _INPUTS for a in facts.identity.attributes)
        inputs: dict[str, Any] = subject.inputs | {
            "name": subject.key,
            "minimumRows": settings.minimum_rows,
            "mostRows": min(MOST_ROWS, max(1, _MOST_VALUES // max(1, searched))),
            "classifierThreshold": facts.settings.classifier_threshold,
        }
        if subject.over != "reference":
            known = self._results.get(subject.key)
            before = next((r for r in self._results.newest_first() if r.subject.key != subject.key), None)
            inputs |= {
                "until": instant(facts.now),
                "labels": self._sources.labels(),
                "attempt": 1 if known is None else int(known.inputs["attempt"]) + 1,
            }
            if before is not None:
                inputs |= {"previous": before.subject.key, "previousRun": before.run}
        self._pin = _Pin(subject.key, inputs)
        make_folder(self._sources.folder)
        replace_file(self._sources.folder / "pinned.json", msgspec.json.encode(self._pin))
        return inputs

    def _missing(self, facts: Facts, settings: HotspotSettings) -> tuple[str, ...]:
        """What is waited for."""
        assert self._sources is not None
        assert self._results is not None
        found = []
        candidates = self._candidates(facts, settings)
        if not candidates:
            found.append("a closed batch" if facts.identity.is_batch else "inferences")
        if not self._sources.labels():
            found.append("labels")
        newest = self._results.newest_first()
        if not found and newest and newest[0].result.labelled < needed(settings):
            one = newest[0]
            found.append(
                f"{needed(settings)} labelled inferences in {one.subject.told}"
                f" (there were {one.result.labelled} of {one.whole})"
            )
        return tuple(found)


def needed(settings: HotspotSettings) -> int:
    """Labelled rows without which nothing is searched: enough for a region and the rest in both halves."""
    return max(2 * settings.minimum_rows, 120)


def unfit_for(facts: Facts, settings: HotspotSettings) -> Disabled | None:
    """Why hotspots are not searched at all; None if they are."""
    if not settings.enabled:
        return Disabled("TurnedOff", "hotspots are off: an Enrichment of type Hotspots turns them on")
    identity = facts.identity
    outcome = outcome_of(identity.attributes, identity.output_type)
    if identity.input_type is not InputType.TABULAR or outcome is None:
        return Disabled(
            "NotForThisModel",
            "hotspots are for tabular classification and regression whose ground truth is declared",
        )
    if settings.metric in _TWO_CLASSES and outcome.task is not Task.BINARY:
        return Disabled(
            "NotForThisModel", f"{settings.metric} of a hotspot needs two classes: choose accuracy instead"
        )
    usable = [
        a
        for a in identity.attributes
        if a.stage in _INPUTS and not a.is_unique and not a.implicit and _makes_rules(a.value_type)
    ]
    if not usable:
        return Disabled("NotForThisModel", "no attribute is a number or a category to make rules of")
    return None


def _makes_rules(value_type: ValueType) -> bool:
    return value_type in (ValueType.INTEGER, ValueType.FLOAT, ValueType.STRING, ValueType.BOOLEAN)


def _read_pin(path: Path) -> _Pin | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Pin)
    except (OSError, msgspec.DecodeError):
        return None
