"""Durations and quantities: what they mean, and what is none."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden.resources.quantities import QUANTITY_PATTERN, parse_duration, parse_quantity, whole_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("1h", 3600), ("30d", 2_592_000), ("2w", 1_209_600)],
)
def test_a_duration_is_a_number_of_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "d", "0d", "1.5h", "-1h", "1h30m", "PT1H", "1 d", "1d\n", "1M", "123456789d"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="15m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"), ("2", "2"), ("0.1", "0.1"), ("1k", "1000"), ("1Ki", "1024"), ("10Gi", "10737418240"),
        ("1.5Mi", "1572864"), ("3T", "3000000000000"), ("0", "0"),
    ],
)  # fmt: skip
def test_a_quantity_is_a_number(text: str, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1e3", "1GB", "1 Gi", "1gi", ".5", "1.", "²"])
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="10Gi"):
        parse_quantity(text)


def test_bytes_are_rounded_up() -> None:
    assert whole_bytes("500m") == 1
    assert whole_bytes("1.001Ki") == 1026


@given(st.from_regex(QUANTITY_PATTERN, fullmatch=True))
def test_every_quantity_that_the_schema_takes_is_a_number(text: str) -> None:
    assert re.fullmatch(QUANTITY_PATTERN, text)
    assert parse_quantity(text) >= 0
