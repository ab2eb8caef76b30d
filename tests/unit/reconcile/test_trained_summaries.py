"""What a model's status says of its trainings: the store's word, and why a Job never came to the store."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from model_worlds import INSTALL, NOW, report
from training_worlds import OTHER, OUT_OF_MEMORY, declared, in_use, its_pod, made, said, world

from modelwarden.reconcile.monitoredmodel.decide import decide
from modelwarden.reconcile.monitoredmodel.enrichments import happenings_of, summaries_of
from modelwarden.reconcile.monitoredmodel.status import happenings, summarise, worth_writing
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import Silence
from modelwarden.resources.modelstatus import MonitoredModelStatus
from modelwarden.resources.training import TrainedSummary

UNSCHEDULABLE = {"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes: no memory"}
STUCK = its_pod(number=9, conditions=[UNSCHEDULABLE])
TOLD = said(state="Failed", reason="TrainingFailed", message="all columns are constant")


def only(given: World) -> TrainedSummary:
    (one,) = summaries_of(given, confirmed=True)
    return one


def status(given: World) -> MonitoredModelStatus:
    return summarise(given, decide(given, INSTALL), (), "http://cell", NOW)


@pytest.mark.parametrize(
    ("entry", "jobs", "pods", "expected"),
    [
        (said(reason="Training"), [], [], ("Training", "Training")),
        (said(reason="Training"), [made()], [its_pod()], ("Training", "Training")),
        (in_use(reason="InUse"), [made("Complete")], [], ("Ready", "Trained")),
        (said(state="Pending", reason="Waiting", due=False), [], [], ("Pending", "Waiting")),
        (said(state="Disabled", reason="TurnedOff", due=False), [], [], ("Disabled", "TurnedOff")),
        # Why the Job does not come to the store is seen from here alone.
        (said(), [made()], [STUCK], ("Training", "Unschedulable")),
        (said(), [made(failed=1)], [its_pod(ended=OUT_OF_MEMORY)], ("Training", "OutOfMemory")),
        (
            said(reason="Training"),
            [made(failed=1)],
            [its_pod(ended=OUT_OF_MEMORY), its_pod(number=1)],
            ("Training", "OutOfMemory"),
        ),
        (said(), [made("Failed", failed=4)], [its_pod(ended=OUT_OF_MEMORY)], ("Failed", "OutOfMemory")),
        (
            said(),
            [made("Failed")],
            [its_pod(ended={"exitCode": 1, "reason": "Error"})],
            ("Failed", "CrashLooping"),
        ),
        (said(), [made("Failed")], [], ("Failed", "TrainingFailed")),
        # The store was told why: that says more than an exit code.
        (TOLD, [made("Failed")], [its_pod(ended={"exitCode": 1})], ("Failed", "TrainingFailed")),
        (TOLD, [made(failed=1)], [its_pod()], ("Training", "Training")),
        (TOLD | {"due": False}, [made("Failed")], [], ("Failed", "TrainingFailed")),
        # What was in use is so still.
        (
            in_use(due=True, wanted=OTHER, reason="Replacing"),
            [made(input_hash=OTHER)],
            [],
            ("Ready", "Replacing"),
        ),
        (
            in_use(due=True, wanted=OTHER),
            [made("Failed", input_hash=OTHER)],
            [],
            ("Failed", "TrainingFailed"),
        ),
        # Pods of a Job of before say nothing of this one.
        (
            said(reason="Training"),
            [made()],
            [its_pod(ended=OUT_OF_MEMORY) | {"metadata": {"name": "old", "labels": {}}}],
            ("Training", "Training"),
        ),
        # A store's reason that is no word is not taken over.
        (said(reason="no word; at all"), [], [], ("Training", "Training")),
    ],
)
def test_each_state_of_store_job_and_pod_has_one_meaning(
    entry: Any, jobs: Any, pods: Any, expected: tuple[str, str]
) -> None:
    one = only(world(entry, jobs=jobs, pods=pods))
    assert (one.state, one.reason) == expected


def test_out_of_memory_is_said_in_plain_words_with_what_to_do_and_when_it_goes_on() -> None:
    one = only(world(said(), jobs=[made("Failed")], pods=[its_pod(ended=OUT_OF_MEMORY)]))
    assert "more memory than its limit" in one.message
    assert "raise spec.training.resources.limits.memory" in one.message
    assert (NOW + timedelta(minutes=10)).strftime("%H:%M") in one.message


def test_while_a_job_tries_again_it_is_said_after_what() -> None:
    pods = [its_pod(ended=OUT_OF_MEMORY), its_pod(number=1)]
    one = only(world(said(reason="Training"), jobs=[made(failed=1)], pods=pods))
    assert "tries again, after: The process used more memory than its limit" in one.message
    assert "raise spec.training.resources.limits.memory" in one.message


def test_a_job_that_is_at_work_is_named() -> None:
    job = made()
    one = only(world(said(reason="Training", message="soon"), jobs=[job], pods=[its_pod()]))
    assert (one.reason, one.message) == ("Training", f"Job {job['metadata']['name']} is training it")


def test_after_the_last_round_it_is_said_that_nothing_happens_by_itself() -> None:
    one = only(world(said(), jobs=[made("Failed", round_=4)], pods=[]))
    assert "not tried again" in one.message
    assert "tried again after" not in one.message


def test_what_stays_in_use_after_a_failure_is_named() -> None:
    one = only(world(in_use(due=True, wanted=OTHER), jobs=[made("Failed", input_hash=OTHER)]))
    assert "stays in use" in one.message
    assert one.artefact_hash == "ef"


def test_what_is_missing_is_said_as_the_store_says_it() -> None:
    missing = ("a closed reference dataset", "an attribute with monitorForBias")
    waits = said(state="Pending", due=False, wanted=None, missing=missing)
    assert (
        only(world(waits)).message == "waits for a closed reference dataset, an attribute with monitorForBias"
    )
    own = "waits for a closed reference dataset"
    assert only(world(waits | {"message": own})).message == own


def test_a_long_message_is_cut_and_of_one_line() -> None:
    one = only(world(said(message="attribute\n" * 1000)))
    assert len(one.message) <= 1000
    assert "\n" not in one.message


def test_the_object_whose_settings_the_store_has_read_is_named_and_until_then_the_one_before() -> None:
    older, newer = declared("a", generation=3), declared("b", age=1)
    first = world(said(), objects=[newer, older])
    (confirmed,) = summaries_of(first, confirmed=True)
    assert (confirmed.declared_by, confirmed.observed_generation) == ("a", 3)
    known = {"enrichments": [confirmed.model_dump(mode="json", by_alias=True)]}
    later = world(said(), objects=[newer], status=known)
    (unconfirmed,) = summaries_of(later, confirmed=False)
    assert (unconfirmed.declared_by, unconfirmed.observed_generation) == ("a", 3)
    (after,) = summaries_of(later, confirmed=True)
    assert (after.declared_by, after.observed_generation) == ("b", 1)
    (default,) = summaries_of(replace(later, enrichments=()), confirmed=True)
    assert (default.declared_by, default.observed_generation) == (None, 0)


def test_settings_that_the_store_has_not_read_are_pending_though_the_generation_is_the_same() -> None:
    given = world(in_use(), objects=[declared("a", enabled=False)])
    told = decide(given, INSTALL).settings_hash

    def reconciling(word: str | None) -> str:
        known = report(settings_hash=word, enrichments=[in_use()])
        found = status(replace(given, report=known))
        return next(c.reason for c in found.conditions if c.type == "Reconciling")

    assert decide(replace(given, enrichments=()), INSTALL).settings_hash != told
    assert reconciling("0123456789") == "SettingsPending"
    assert reconciling(told) == "UpToDate"
    assert reconciling(None) == "UpToDate", "an older store tells the generation alone"


@pytest.mark.parametrize("word", [Silence("StoreUnreachable", "no"), report(), None])
def test_the_last_known_stays_while_the_store_says_nothing_of_it(word: Any) -> None:
    first = status(world(in_use()))
    assert first.enrichments
    later = world(status=first.model_dump(mode="json", by_alias=True))
    assert status(replace(later, report=word)).enrichments == first.enrichments


def test_a_change_of_state_is_written_at_once_and_a_message_when_facts_are_due() -> None:
    first = status(world(said(message="1 of 9")))
    fact, change = status(world(said(message="2 of 9"))), status(world(in_use()))
    assert not worth_writing(first, fact, facts_are_due=False)
    assert worth_writing(first, fact, facts_are_due=True)
    assert worth_writing(first, change, facts_are_due=False)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((), [said()], []),
        ([said()], [in_use()], ["EnrichmentTrained"]),
        ([in_use()], [in_use()], []),
        ([in_use()], [in_use(due=True, wanted=OTHER)], []),
        ([in_use()], [in_use(artefact_hash="other")], ["EnrichmentTrained"]),
        ([said()], [TOLD | {"due": False}], ["EnrichmentFailed"]),
        ([TOLD | {"due": False}], [TOLD | {"due": False, "message": "another"}], []),
        ((), [TOLD | {"due": False}], ["EnrichmentFailed"]),
        ([in_use()], [said(state="Disabled", due=False, wanted=None)], ["EnrichmentDisabled"]),
        ((), [said(state="Disabled", due=False, wanted=None)], []),
    ],
)
def test_an_event_tells_what_has_happened_and_only_that(before: Any, after: Any, told: list[str]) -> None:
    was, is_now = (summaries_of(world(*entries), confirmed=True) for entries in (before, after))
    assert [happening.reason for happening in happenings_of(was, is_now)] == told


def test_a_model_tells_of_its_trainings_beside_its_conditions() -> None:
    before, after = status(world(said())), status(world(TOLD | {"due": False}))
    (event,) = happenings(before, after)
    assert (event.type, event.reason) == ("Warning", "EnrichmentFailed")
    assert event.message == "anomaly: all columns are constant"
