"""Conditions, from plain verdicts. Pure; the only place that stamps a condition's generation and time."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from modelwarden.errors import Bug, DependencyMissing, InvalidSpec, ReconcileError
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.conditions import Condition, ConditionStatus, ConditionType, merge_conditions

LONGEST_MESSAGE = 200
_REASON = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")


@dataclass(frozen=True)
class Verdict:
    """What is known of one condition. `longest`: characters that its message may have."""

    status: ConditionStatus
    reason: str
    message: str = ""
    longest: int = LONGEST_MESSAGE

    @property
    def holds(self) -> bool:
        return self.status == "True"


def yes(reason: str, message: str = "") -> Verdict:
    return Verdict("True", reason, message)


def no(reason: str, message: str = "") -> Verdict:
    return Verdict("False", reason, message)


def unknown(reason: str, message: str = "") -> Verdict:
    return Verdict("Unknown", reason, message)


@dataclass(frozen=True)
class Standing:
    """The three conditions of kstatus."""

    ready: Verdict
    reconciling: Verdict
    stalled: Verdict

    def by_type(self) -> dict[str, Verdict]:
        return {
            ConditionType.READY: self.ready,
            ConditionType.RECONCILING: self.reconciling,
            ConditionType.STALLED: self.stalled,
        }


def standing_of(ready: Verdict, pending: Verdict | None, stalled: Verdict | None) -> Standing:
    """kstatus from: whether it works, what is still under way, and what hinders for good.

    Stalled and Reconciling exclude each other: kstatus reads either one as the whole truth.
    """
    if stalled is not None:
        calm = no(stalled.reason, stalled.message)
        return Standing(calm if ready.holds else ready, calm, yes(stalled.reason, stalled.message))
    not_stalled = no(Reason.NOT_STALLED)
    if pending is not None:
        return Standing(ready, yes(pending.reason, pending.message), not_stalled)
    if not ready.holds:
        return Standing(ready, yes(ready.reason, ready.message), not_stalled)
    return Standing(ready, no(Reason.UP_TO_DATE), not_stalled)


def conditions_of(
    verdicts: Mapping[str, Verdict], generation: int, now: datetime, previous: Iterable[Condition]
) -> tuple[Condition, ...]:
    """Conditions in the order of `verdicts`; a transition time moves only with its status."""
    wanted = [
        Condition(
            type=str(type_),
            status=verdict.status,
            reason=str(verdict.reason),
            message=tidy(verdict.message, verdict.longest),
            observed_generation=generation,
            last_transition_time=now.replace(microsecond=0),
        )
        for type_, verdict in verdicts.items()
    ]
    return merge_conditions(previous, wanted)


def tidy(message: str, longest: int = LONGEST_MESSAGE) -> str:
    """One line of at most 200 characters, without the names that the cluster makes up for pods."""
    line = " ".join(message.split())
    line = re.sub(r'\bpods? "[^"]*"', "pod", line)
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def worded(reason: str, otherwise: str) -> str:
    """A cell's reason, if it is a word that a condition may carry."""
    return reason if _REASON.fullmatch(reason) else otherwise


def hindrance(troubles: Iterable[ReconcileError]) -> Verdict | None:
    """What a person has to mend, if any: the first of the troubles that does not pass by itself."""
    for trouble in troubles:
        if isinstance(trouble, InvalidSpec | DependencyMissing):
            return yes(trouble.reason, trouble.message)
    return None


def failure_of(troubles: Iterable[ReconcileError]) -> Verdict | None:
    """Our own failure, if there is one: nothing may be called ready while the operator does not know."""
    for trouble in troubles:
        if isinstance(trouble, Bug):
            return no(trouble.reason, trouble.message)
    return None
