"""Which training Jobs are made and which are taken away: from the store's word and the Jobs there are."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from model_worlds import NOW, report
from training_worlds import MEANS, OTHER, WANTED, declared, in_use, made, said, world

from modelwarden.reconcile.monitoredmodel.trainings import Means, Steps, steps_of
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.names import ANNOTATION_ROUND
from modelwarden.reconcile.ports import Silence
from modelwarden.resources.pod import ResourceAmounts, Resources

MORE = replace(MEANS, resources=Resources(limits=ResourceAmounts(memory="4Gi")))


def steps(given: World, means: Means = MEANS, *, minutes: int = 0) -> tuple[list[str], list[str]]:
    """Names of the Jobs to take away; names and rounds of those to make."""
    found: Steps = steps_of(given, means, NOW + timedelta(minutes=minutes))
    rounds = [f"{plan.name} {plan.annotations[ANNOTATION_ROUND]}" for plan in found.make]
    return [job["metadata"]["name"] for job in found.remove], rounds


NAME = f"census-train-anomaly-{WANTED[:8]}"
NOTHING: tuple[list[str], list[str]] = ([], [])
FIRST = ([], [f"{NAME} 1"])
ANEW = ([NAME], [f"{NAME} 1"])


@pytest.mark.parametrize(
    ("entries", "jobs", "expected"),
    [
        ([said()], [], FIRST),
        ([said()], [made()], NOTHING),
        ([said()], [made(failed=2)], NOTHING),
        # It may have been made by one that was killed before he made its key.
        ([said()], [made(has_run=False)], FIRST),
        ([said()], [made(has_run=False, round_=3)], ([], [f"{NAME} 3"])),
        ([said(due=False, state="Pending", wanted=None)], [], NOTHING),
        ([in_use()], [made("Complete")], NOTHING),
        ([in_use()], [], NOTHING),
        # What is in use has a successor to come.
        ([in_use(due=True, wanted=OTHER)], [made("Complete")], ([], [f"census-train-anomaly-{OTHER[:8]} 1"])),
        # Turned off, or wanted from other inputs by now.
        ([said(state="Disabled", due=False, wanted=None)], [made()], ([NAME], [])),
        ([said(wanted=OTHER)], [made()], ([NAME], [f"census-train-anomaly-{OTHER[:8]} 1"])),
        ([said(state="Disabled", due=False, wanted=None)], [made("Failed")], NOTHING),
        ([said(state="Disabled", due=False, wanted=None)], [made("Complete")], NOTHING),
        # Off and on again: it ended well and the store wants it once more.
        ([said()], [made("Complete")], ([NAME], [f"{NAME} 2"])),
        # The store knows that no other try would help.
        ([said(state="Failed", due=False)], [made("Failed")], NOTHING),
        # An older store, or one that starts, speaks of nothing.
        ([], [made()], NOTHING),
        ([said(kind="bias", type="BiasMitigation", due=False)], [made()], NOTHING),
    ],
)
def test_a_job_is_made_for_what_is_due_and_taken_away_only_when_it_works_for_nothing(
    entries: Any, jobs: Any, expected: Any
) -> None:
    assert steps(world(*entries, jobs=jobs)) == expected


def test_a_job_whose_result_is_in_use_is_left_to_end_by_itself() -> None:
    assert steps(world(in_use(state="Pending", wanted=None), jobs=[made()])) == NOTHING
    taken, _ = steps(world(in_use(state="Pending", wanted=None), jobs=[made(input_hash=OTHER)]))
    assert taken == [made(input_hash=OTHER)["metadata"]["name"]]


@pytest.mark.parametrize("word", [None, Silence("StoreUnreachable", "no")])
def test_while_the_store_is_silent_nothing_is_made_and_nothing_taken_away(word: Any) -> None:
    assert steps(replace(world(said(), jobs=[made(input_hash=OTHER)]), report=word)) == NOTHING


def test_an_archived_model_trains_nothing() -> None:
    silent = replace(world(jobs=[made(), made("Failed")], lifecycle="Archived"), report=None)
    assert steps(silent) == ([NAME], [])


def test_a_job_that_is_being_deleted_is_waited_for() -> None:
    leaving = made("Failed")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    assert steps(world(said(), jobs=[leaving]), minutes=9999) == NOTHING


@pytest.mark.parametrize(("round_", "wait"), [(1, 10), (2, 60), (3, 360), (4, None)])
def test_a_training_that_failed_is_tried_again_ever_later_and_not_for_ever(
    round_: int, wait: int | None
) -> None:
    given = world(said(), jobs=[made("Failed", round_=round_)])
    if wait is None:
        assert steps(given, minutes=100_000) == NOTHING
        return
    assert steps(given, minutes=wait - 1) == NOTHING
    assert steps(given, minutes=wait) == ([NAME], [f"{NAME} {round_ + 1}"])


@pytest.mark.parametrize(("round_", "wait"), [(1, 0), (2, 10), (5, None)])
def test_one_that_ends_well_in_vain_is_not_repeated_without_end(round_: int, wait: int | None) -> None:
    given = world(said(), jobs=[made("Complete", round_=round_)])
    later = steps(given, minutes=100_000)
    assert later == (NOTHING if wait is None else ([NAME], [f"{NAME} {round_ + 1}"]))
    if wait:
        assert steps(given, minutes=wait - 1) == NOTHING


@pytest.mark.parametrize(
    "job", [made("Failed"), made("Failed", round_=4), made(failed=1), made("Complete"), made(has_run=False)]
)
def test_what_failed_is_tried_again_at_once_when_a_person_has_changed_something_of_it(job: Any) -> None:
    assert steps(world(said(), jobs=[job]), MORE) == ANEW
    assert steps(world(said(), jobs=[job], objects=[declared()])) == ANEW
    newer = replace(MEANS, place=replace(MEANS.place, image="newer"))
    assert steps(world(said(), jobs=[job]), newer) == ANEW


def test_what_works_is_left_alone_by_a_change() -> None:
    assert steps(world(said(), jobs=[made()], objects=[declared()]), MORE) == NOTHING


def test_an_enrichment_that_does_not_count_changes_nothing() -> None:
    first, second = declared("a"), declared("b", age=1, generation=5)
    job = made("Failed", declared="uid-a/1")
    assert steps(world(said(), jobs=[job], objects=[second, first])) == NOTHING


@pytest.mark.parametrize(
    "odd",
    [said(kind="../x"), said(kind="Anomaly"), said(kind="a" * 17), said(kind=""), said(wanted="x/y"),
     said(wanted=""), said(wanted=None)],
)  # fmt: skip
def test_a_store_s_word_that_cannot_be_a_name_makes_no_job(odd: Any) -> None:
    assert steps(world(odd)) == NOTHING


def test_a_kind_that_is_named_twice_is_trained_once() -> None:
    assert steps(world(said(), said())) == FIRST


def test_the_report_of_a_store_that_knows_no_enrichments_does_nothing() -> None:
    older = report().model_dump(exclude={"enrichments"})
    assert steps(replace(world(), report=report(**older))) == NOTHING
