"""What is to be said of a kind, from what it wishes and what is recorded. Pure: no files, no clock.

What is installed stays in use until something newer is, or until it is turned off. A failure counts only for
the inputs that it was met with.
"""

from dataclasses import dataclass
from typing import Any

from modelwarden.resources.report import EnrichmentReport, waits_for
from modelwarden_server.enrichments.kind import Disabled, EnrichmentType, Pending, Wanted, Wish, input_hash
from modelwarden_server.enrichments.registry import Record

KEPT = "what was trained before stays in use"


@dataclass(frozen=True)
class Named:
    """A kind, as far as a decision needs it."""

    name: str
    type: EnrichmentType | None
    version: int

    def hash_of(self, wanted: Wanted) -> str:
        """The name of the training that is wanted."""
        return input_hash(self.name, self.version, wanted.inputs)


def decide(kind: Named, wish: Wish, record: Record, damage: str | None = None) -> EnrichmentReport:
    """The kind's part of the status. `damage`: why what was installed could not be taken in use.

    A wish of Disabled comes with an empty record: whoever decides on it forgets what was installed.
    """
    known = _installed(record)
    match wish:
        case Disabled(reason, message):
            return EnrichmentReport(
                kind=kind.name, type=kind.type, state="Disabled", reason=reason, message=message
            )
        case Pending(missing):
            message = _sentence(waits_for(missing), KEPT if record.installed else "")
            return EnrichmentReport(
                kind=kind.name,
                type=kind.type,
                state="Pending",
                reason="Waiting",
                message=message,
                missing=missing,
                **known,
            )
        case Wanted():
            return _of_wanted(kind, kind.hash_of(wish), record, damage)


def _of_wanted(kind: Named, wanted: str, record: Record, damage: str | None) -> EnrichmentReport:
    installed, failure = record.installed, record.failure
    state: dict[str, Any]
    if installed is not None and installed.input_hash == wanted:
        state = {"state": "Ready", "reason": "InUse", "message": "trained and in use"}
    elif failure is not None and failure.input_hash == wanted:
        message = _sentence(
            failure.message, "another attempt may help" if failure.again else "", KEPT if installed else ""
        )
        state = {"state": "Failed", "reason": "TrainingFailed", "message": message, "due": failure.again}
    elif installed is not None:
        message = _sentence("its inputs have changed: it is being trained anew", KEPT)
        state = {"state": "Ready", "reason": "Replacing", "message": message, "due": True}
    elif damage is not None:
        message = f"what was installed cannot be used, {damage}: it is being trained anew"
        state = {"state": "Training", "reason": "Damaged", "message": message, "due": True}
    else:
        message = "it is being trained, or its Job is about to start"
        state = {"state": "Training", "reason": "Training", "message": message, "due": True}
    return EnrichmentReport(kind=kind.name, type=kind.type, wanted=wanted, **state, **_installed(record))


def _installed(record: Record) -> dict[str, Any]:
    if record.installed is None:
        return {}
    return {
        "installed": record.installed.input_hash,
        "artefact_hash": record.installed.artefact_hash,
        "trained_at": record.installed.trained_at,
    }


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
