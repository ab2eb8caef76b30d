"""Durations ("15m", "30d") and Kubernetes quantities ("500m", "10Gi") as the specs write them, and their
numbers."""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated

from pydantic import StringConstraints

# One number, one unit: CEL rules can compare such a text, which the ISO form does not allow.
DURATION_PATTERN = r"^[1-9][0-9]{0,7}(s|m|h|d|w)$"
QUANTITY_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,3})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"

Duration = Annotated[str, StringConstraints(min_length=2, max_length=9, pattern=DURATION_PATTERN)]
Quantity = Annotated[str, StringConstraints(min_length=1, max_length=24, pattern=QUANTITY_PATTERN)]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}


def parse_duration(text: str) -> int:
    """Seconds in a duration such as "90s", "15m", "1h", "30d" or "2w". Raises ValueError that says what is
    allowed."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f'{text!r} is not a duration: write a whole number and s, m, h, d or w, as in "15m"')
    return int(text[:-1]) * _SECONDS[text[-1]]


def parse_quantity(text: str) -> Decimal:
    """The number in a Kubernetes quantity such as "500m", "2" or "10Gi". Raises ValueError that says what
    is allowed."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)([A-Za-z]*)", text)
    if found is None or found[2] not in _FACTORS:
        raise ValueError(f'{text!r} is not a quantity: write a number and a unit, as in "500m" or "10Gi"')
    return Decimal(found[1]) * _FACTORS[found[2]]


def whole_bytes(text: str) -> int:
    """A quantity as a whole number of bytes, rounded up."""
    return int(parse_quantity(text).to_integral_value(rounding=ROUND_CEILING))


def cel_seconds(expression: str) -> str:
    """CEL that turns the duration text named by `expression` into seconds, as `parse_duration` does."""
    number = f"int({expression}.substring(0, {expression}.size() - 1))"
    units = ", ".join(f"'{unit}': {seconds}" for unit, seconds in _SECONDS.items())
    return f"{number} * {{{units}}}[{expression}.substring({expression}.size() - 1)]"
