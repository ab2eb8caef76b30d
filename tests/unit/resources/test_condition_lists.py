"""Transition times move only when a status does."""

from datetime import UTC, datetime, timedelta

from modelwarden.resources.conditions import Condition, find_condition, merge_conditions

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)


def condition(type_: str, status: str, when: datetime, reason: str = "Because") -> Condition:
    return Condition.model_validate(
        {"type": type_, "status": status, "reason": reason, "lastTransitionTime": when}
    )


def test_the_time_stays_while_the_status_does_even_if_the_reason_changes() -> None:
    merged = merge_conditions(
        [condition("Ready", "False", THEN)], [condition("Ready", "False", NOW, reason="Other")]
    )
    assert merged[0].last_transition_time == THEN
    assert merged[0].reason == "Other"


def test_the_time_moves_with_the_status() -> None:
    merged = merge_conditions([condition("Ready", "False", THEN)], [condition("Ready", "True", NOW)])
    assert merged[0].last_transition_time == NOW


def test_a_type_that_is_new_has_its_own_time_and_one_that_is_gone_goes() -> None:
    merged = merge_conditions([condition("Old", "True", THEN)], [condition("New", "True", NOW)])
    assert [(c.type, c.last_transition_time) for c in merged] == [("New", NOW)]


def test_a_condition_is_found_by_its_type() -> None:
    listed = [condition("A", "True", THEN), condition("B", "False", NOW)]
    assert find_condition(listed, "B") is listed[1]
    assert find_condition(listed, "C") is None
