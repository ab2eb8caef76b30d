"""Ids and keys that other systems hold: they must stay what they are."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden.resources.identity import model_id
from modelwarden.resources.keys import (
    JobClaim,
    cell_key,
    job_key,
    presented_key,
    same_key,
    verify_job_key,
)

SECRET = bytes(range(32))
KEY = cell_key(SECRET, "shop", "churn", 0)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
PARTS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def test_a_models_id_never_changes() -> None:
    assert model_id("shop", "churn") == "f7d142f6-2127-587c-8efb-51ac09db91c3"
    assert uuid.UUID(model_id("shop", "churn")).version == 5


@given(NAMES, st.text(min_size=1), NAMES, st.text(min_size=1))
def test_two_models_have_two_ids(a: str, b: str, c: str, d: str) -> None:
    assert (model_id(a, b) == model_id(c, d)) == ((a, b) == (c, d))


def test_a_cells_key_never_changes() -> None:
    assert KEY == "dcfb501cb80d0f6bf1d8e8b29aff21b292c50bcf69b8bc37bcb745d682cd1c70"


def test_a_new_epoch_another_name_and_another_install_give_other_keys() -> None:
    others = [
        cell_key(SECRET, "shop", "churn", 1),
        cell_key(SECRET, "shop", "other", 0),
        cell_key(SECRET, "bank", "churn", 0),
        cell_key(SECRET[::-1], "shop", "churn", 0),
    ]
    assert len({KEY, *others}) == 5


def test_a_short_install_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        cell_key(b"short", "shop", "churn", 0)


@given(PARTS, PARTS)
def test_a_job_key_opens_its_own_purpose_and_input_in_its_own_cell(purpose: str, input_hash: str) -> None:
    key = job_key(KEY, purpose, input_hash)
    assert verify_job_key(KEY, key) == JobClaim(purpose=purpose, input_hash=input_hash)
    assert verify_job_key(cell_key(SECRET, "shop", "other", 0), key) is None


@given(st.text())
def test_no_made_up_key_opens_anything(presented: str) -> None:
    assert verify_job_key(KEY, presented) is None


@pytest.mark.parametrize("wrong", ["train.abc", "profile.abd", "profile", "profile.abc.x"])
def test_a_job_key_whose_claim_was_changed_opens_nothing(wrong: str) -> None:
    key = job_key(KEY, "profile", "abc")
    assert verify_job_key(KEY, key.replace("profile.abc", wrong)) is None


def test_a_purpose_with_a_dot_cannot_be_a_part_of_a_key() -> None:
    with pytest.raises(ValueError, match="letters"):
        job_key(KEY, "a.b", "c")


@pytest.mark.parametrize(
    ("header", "key"),
    [("abc", "abc"), ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("", ""), ("Bearer", "Bearer")],
)
def test_a_key_is_presented_bare_or_as_a_bearer_token(header: str, key: str) -> None:
    assert presented_key(header) == key


@given(st.text(), st.text())
def test_keys_are_the_same_only_if_they_are_equal(one: str, other: str) -> None:
    assert same_key(one, other) == (one == other)
