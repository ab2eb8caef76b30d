"""A handful of made-up people in the census tables' shape, for tests that need no download."""

import random

import pyarrow as pa

from examples.census import data


def people(count: int, year: int, *, first_id: int = 0, seed: int = 1) -> pa.Table:
    """`count` rows with id, year, attributes and label; the label follows age, so that there is something
    to learn.
    """
    chance = random.Random(seed)
    ages = [chance.randrange(0, 95) for _ in range(count)]
    columns: dict[str, object] = {
        "id": list(range(first_id, first_id + count)),
        "year": [year] * count,
        "AGEP": ages,
    }
    for name in (*data.INPUTS[1:], *data.PROTECTED):
        drawn = f"{chance.getrandbits(count) | 1 << count:b}"[1:]  # a bit for each person
        columns[name] = list(drawn.replace("0", "2"))
    columns[data.LABEL] = [int(18 <= age <= 64 and chance.random() < 0.9) for age in ages]
    return pa.table(columns)
