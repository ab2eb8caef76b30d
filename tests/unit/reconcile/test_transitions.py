"""Events: one for what has happened, none for what has not."""

from datetime import UTC, datetime
from typing import Any

import pytest
from model_worlds import NOW

from modelwarden.errors import Transient
from modelwarden.reconcile.transitions import Happening, event_manifest, tell, transitions
from modelwarden.resources.conditions import Condition


def c(type_: str, status: Any, reason: str = "Why", message: str = "") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message, last_transition_time=NOW)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [c("Ready", "False")], []),
        ([], [c("Ready", "True")], [("Normal", "Why")]),
        ([c("Ready", "False")], [c("Ready", "True")], [("Normal", "Why")]),
        ([c("Ready", "True")], [c("Ready", "False")], [("Warning", "Why")]),
        ([c("Ready", "True")], [c("Ready", "Unknown")], []),
        ([c("Ready", "True")], [c("Ready", "False", "SettingsPending")], []),
        ([c("Ready", "True", "A")], [c("Ready", "True", "B")], []),
        ([c("ModelHealthy", "Unknown")], [c("ModelHealthy", "False")], []),
        ([c("ModelHealthy", "True")], [c("ModelHealthy", "False")], [("Warning", "Why")]),
        ([c("Stalled", "False")], [c("Stalled", "True")], [("Warning", "Why")]),
        ([c("Stalled", "True")], [c("Stalled", "False")], []),
        ([c("Reconciling", "False")], [c("Reconciling", "True")], []),
    ],
)
def test_only_a_flip_that_matters_to_people_is_told(before: Any, after: Any, expected: Any) -> None:
    assert [(told.type, told.reason) for told in transitions(before, after)] == expected


def test_an_event_names_its_object_by_uid_and_several_of_a_moment_have_names_of_their_own() -> None:
    about = {
        "apiVersion": "modelwarden.dev/v1alpha1",
        "kind": "MonitoredModel",
        "metadata": {"namespace": "shop", "name": "census", "uid": "u", "resourceVersion": "1"},
    }
    now = datetime(2026, 11, 21, tzinfo=UTC)
    events = [event_manifest(about, Happening("Normal", "R", "m"), now, number) for number in range(3)]
    assert {event["involvedObject"]["uid"] for event in events} == {"u"}
    assert len({event["metadata"]["name"] for event in events}) == 3


async def test_an_event_that_cannot_be_written_costs_nothing() -> None:
    class Deaf:
        async def create(self, manifest: Any) -> Any:
            raise Transient("ApiServerError", "500")

    about = {
        "apiVersion": "x",
        "kind": "MonitoredModel",
        "metadata": {"namespace": "n", "name": "x", "uid": "u", "resourceVersion": "1"},
    }
    await tell(Deaf(), about, [Happening("Normal", "R", "m")], NOW)  # type: ignore[arg-type]
