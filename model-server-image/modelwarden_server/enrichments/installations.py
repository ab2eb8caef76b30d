"""What is wanted and what is installed of each kind, and the steps between. One slot a kind.

An artefact goes the way checked → durable → recorded → in use, so whatever is killed, nothing is ever
half-installed. Thread-safe. Must not know HTTP, nor what a kind computes.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.enrichments.decide import Named, decide
from modelwarden_server.enrichments.kind import (
    Disabled,
    Facts,
    InstalledTraining,
    Pending,
    TrainedKind,
    Wanted,
    Wish,
)
from modelwarden_server.enrichments.registry import DamagedError, FailedTraining, Record, Registry

log = logging.getLogger(__name__)


class UnwantedTrainingError(Exception):
    """Nobody wants this training, now. The message says why."""


class WaitingError(Exception):
    """The training may be wanted in a moment: its kind waits for something. The message says for what."""


class RefusedArtefactError(Exception):
    """The artefact is not what the kind takes. The message says why."""


class OtherBytesError(Exception):
    """Another artefact of the same inputs is in use."""


class UnknownKindError(Exception):
    """There is no such kind here."""


@dataclass(frozen=True)
class Training:
    """A training that is wanted, and whether its result is in use already."""

    kind: TrainedKind
    inputs: Mapping[str, Any]
    done: bool


@dataclass
class _Slot:
    kind: TrainedKind
    record: Record = field(default_factory=Record)
    damage: str | None = None
    leftover: bool = False
    """Whether something on the disk is still to be removed."""

    @property
    def named(self) -> Named:
        return Named(self.kind.name, self.kind.type, self.kind.version)


@dataclass
class Installations:
    """All kinds of one cell. `facts` raises ValueError or OSError if something that decides is unreadable."""

    kinds: Sequence[TrainedKind]
    registry: Registry
    facts: Callable[[], Facts]
    clock: Callable[[], datetime]
    _slots: dict[str, _Slot] = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def __post_init__(self) -> None:
        self._slots = {kind.name: _Slot(kind) for kind in self.kinds}

    def start(self) -> None:
        """Take in use what is recorded and still wanted or waited for. Never raises for what it finds."""
        with self._lock:
            for slot in self._slots.values():
                self._restore(slot)

    def reports(self) -> tuple[EnrichmentReport, ...]:
        """Each kind's part of the status, as things are now."""
        with self._lock:
            known = self._known()
            return tuple(self._report(slot, known) for slot in self._slots.values())

    def report(self, kind: str) -> EnrichmentReport | None:
        """One kind's part of the status, None without that kind."""
        with self._lock:
            slot = self._slots.get(kind)
            return None if slot is None else self._report(slot, self._known())

    def training(self, kind: str, input_hash: str) -> Training:
        """A training, if it is wanted. Raises UnknownKindError, UnwantedTrainingError, WaitingError."""
        with self._lock:
            return self._training(self._slot(kind), input_hash)

    def begin(self, kind: str, input_hash: str) -> Training:
        """As `training`; a Job begins it, so what failed before is forgotten. Raises OSError too."""
        with self._lock:
            slot = self._slot(kind)
            training = self._training(slot, input_hash)
            if slot.record.failure is not None:
                self._write(slot, slot.record.with_failure(None))
            return training

    def install(self, kind: str, input_hash: str, content: bytes, artefact: Artefact) -> str:
        """Take an artefact in use; its hash. `artefact` is what `content` unpacks to.

        The same again changes nothing. Raises as `training`, RefusedArtefactError, OtherBytesError, OSError.
        """
        artefact_hash = hashlib.sha256(content).hexdigest()
        with self._lock:
            slot = self._slot(kind)
            wanted = self._training(slot, input_hash)
            if wanted.done:
                return _same(slot.record, artefact_hash)
            training = InstalledTraining(input_hash, wanted.inputs, artefact_hash, self.clock())
            _check(slot.kind, artefact, training)
            if self.registry.keep(kind, content) != artefact_hash:
                raise RuntimeError("the artefact changed on its way")
            self._write(slot, Record(training))
            self._use(slot, artefact, training)
            self._prune(slot)
            log.info("%s: artefact %s is in use", kind, artefact_hash[:12])
            return artefact_hash

    def fail(self, kind: str, input_hash: str, message: str, *, again: bool) -> None:
        """Note why a training gave nothing. Raises as `training`, OSError."""
        with self._lock:
            slot = self._slot(kind)
            if not self._training(slot, input_hash).done:
                failure = FailedTraining(input_hash, message, again, self.clock())
                self._write(slot, slot.record.with_failure(failure))
                log.warning("%s: %s", kind, message)

    def _slot(self, kind: str) -> _Slot:
        if kind not in self._slots:
            raise UnknownKindError(f"nothing of the kind {kind} is trained here")
        return self._slots[kind]

    def _training(self, slot: _Slot, input_hash: str) -> Training:
        wish = self._wish(slot, self._known())
        match wish:
            case Disabled(_, message):
                raise UnwantedTrainingError(message)
            case Pending():
                raise WaitingError(decide(slot.named, wish, slot.record).message)
            case Wanted(inputs):
                if slot.named.hash_of(wish) != input_hash:
                    raise UnwantedTrainingError("what is to be trained has changed: this Job is of no use")
                installed = slot.record.installed
                return Training(
                    slot.kind, inputs, installed is not None and installed.input_hash == input_hash
                )

    def _report(self, slot: _Slot, known: Facts | Pending) -> EnrichmentReport:
        try:
            wish = self._wish(slot, known)
            return decide(slot.named, wish, slot.record, slot.damage)
        except Exception as error:  # one kind's fault must not take the whole status with it
            log.exception("%s cannot say what it wants", slot.kind.name)
            return EnrichmentReport(
                kind=slot.kind.name,
                type=slot.kind.type,
                state="Failed",
                reason="ServerFault",
                message=f"a fault of the server ({type(error).__name__}): its log tells more",
            )

    def _known(self) -> Facts | Pending:
        """The facts, or what is waited for until there are any."""
        try:
            return self.facts()
        except (ValueError, OSError) as error:
            return Pending((f"a reference whose profile can be read ({error})",))

    def _wish(self, slot: _Slot, known: Facts | Pending) -> Wish:
        """What the kind wishes now; if that is nothing, what is installed is forgotten."""
        if isinstance(known, Pending):
            return known
        wish = slot.kind.wanted(known)
        if isinstance(wish, Disabled) and (slot.record != Record() or slot.damage or slot.leftover):
            self._forget(slot)
        return wish

    def _forget(self, slot: _Slot) -> None:
        slot.kind.uninstall()
        slot.record, slot.damage, slot.leftover = Record(), None, False
        try:
            self.registry.forget(slot.kind.name)
        except OSError as error:
            slot.leftover = True  # tried again whenever somebody looks
            log.warning("%s: what was installed cannot be removed: %s", slot.kind.name, error)
        else:
            log.info("%s: turned off", slot.kind.name)

    def _restore(self, slot: _Slot) -> None:
        name = slot.kind.name
        try:
            slot.record = self.registry.read(name)
            if isinstance(self._wish(slot, self._known()), Disabled) or slot.record.installed is None:
                self._prune(slot)
                return
            training = slot.record.installed
            artefact = self.registry.artefact(name, training.artefact_hash)
            slot.kind.check(artefact, training)
            slot.kind.install(artefact, training)
            self._prune(slot)
        except (DamagedError, ValueError) as error:
            self._damaged(slot, str(error))
        except Exception as error:  # the cell serves without it
            log.exception("%s cannot be taken in use", name)
            self._damaged(slot, f"a fault of the server ({type(error).__name__})")

    def _damaged(self, slot: _Slot, what: str) -> None:
        log.error("%s: what was installed cannot be used: %s", slot.kind.name, what)
        slot.damage = what
        slot.record = Record(None, slot.record.failure)

    def _write(self, slot: _Slot, record: Record) -> None:
        self.registry.write(slot.kind.name, record)
        slot.record = record

    def _use(self, slot: _Slot, artefact: Artefact, training: InstalledTraining) -> None:
        try:
            slot.kind.install(artefact, training)
        except Exception as error:
            log.exception("%s cannot be taken in use", slot.kind.name)
            message = f"a fault of the server while it was taken in use ({type(error).__name__})"
            slot.kind.uninstall()
            self._write(
                slot, Record(None, FailedTraining(training.input_hash, message, again=False, at=self.clock()))
            )
            raise RefusedArtefactError(message) from error
        slot.damage = None

    def _prune(self, slot: _Slot) -> None:
        installed = slot.record.installed
        try:
            self.registry.prune(slot.kind.name, None if installed is None else installed.artefact_hash)
        except OSError as error:
            log.warning("%s: an earlier artefact cannot be removed: %s", slot.kind.name, error)


def _check(kind: TrainedKind, artefact: Artefact, training: InstalledTraining) -> None:
    if artefact.kind != kind.name:
        raise RefusedArtefactError(f"the artefact is of the kind {artefact.kind!r}, not {kind.name}")
    if artefact.manifest.get("inputHash") != training.input_hash:
        raise RefusedArtefactError("the artefact's manifest names other inputs (inputHash)")
    try:
        kind.check(artefact, training)
    except ValueError as error:
        raise RefusedArtefactError(str(error)) from None


def _same(record: Record, artefact_hash: str) -> str:
    assert record.installed is not None
    if record.installed.artefact_hash != artefact_hash:
        raise OtherBytesError(
            "another artefact of the same inputs is in use: the same inputs must give the same bytes"
        )
    return artefact_hash
