"""Rows of models that nobody would draw in a textbook.

Texts that only rows tell carry MARK, so that a test can look for them where values of rows must not be.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from model_stories import Spec, attribute, categories, prediction, truth

MARK = "zq7mark"
START = datetime(2026, 6, 1, tzinfo=UTC)
Row = dict[str, Any]
Change = Row | Callable[[Row, random.Random], Row]
"""What is different about rows: the same in all, or made of each."""


def inputs(*more: Any, bias: bool = True) -> list[Any]:
    return [
        attribute("age", "INTEGER", "PIPELINE_INPUT", 0, monitorForBias=bias,
                  bins=[{"continuousEnd": 40}, {"continuousStart": 40}]),
        attribute("income", "FLOAT", "PIPELINE_INPUT", 1),
        attribute("sex", "STRING", "PIPELINE_INPUT", 2, monitorForBias=bias, **categories("f", "m")),
        attribute("town", "STRING", "PIPELINE_INPUT", 3, categorical=True),
        *more,
    ]  # fmt: skip


BINARY = [
    prediction("p", 0, attributeLink="y", isPositivePredictedAttribute=True),
    truth("y", 0, attributeLink="p"),
]
NUMBER = [
    attribute("guess", "FLOAT", "PREDICTED_VALUE", 0, attributeLink="paid"),
    attribute("paid", "FLOAT", "GROUND_TRUTH", 0, attributeLink="guess"),
]
CLASSES = [
    *(prediction(f"p{c}", i, gtClassLink=c) for i, c in enumerate("abc")),
    attribute("kind", "STRING", "GROUND_TRUTH_CLASS", 0, **categories("a", "b", "c")),
]


def model(
    outputs: Sequence[Any], given: Sequence[Any] | None = None, output: str = "MULTICLASS", **more: Any
) -> Spec:
    listed = [*(inputs() if given is None else given), *outputs]
    return {"inputType": "TABULAR", "outputType": output, "attributes": listed} | more


def person(chance: random.Random) -> Row:
    p = chance.random()
    return {
        "age": chance.randrange(18, 80),
        "income": chance.gauss(30_000, 5_000),
        "sex": chance.choice("fm"),
        "town": f"{MARK}-{chance.choice('abc')}",
        "p": p,
        "y": int(chance.random() < p),
    }


def some(n: int, seed: int = 1, change: Change | None = None) -> list[Row]:
    """People; `change` gives what is different about each."""
    chance = random.Random(seed)
    made = []
    for _ in range(n):
        row = person(chance)
        other = change(row, chance) if callable(change) else change or {}
        made.append({k: v for k, v in (row | other).items() if v is not ...})
    return made


def both(n: int, change: Change, rows: int = 1500) -> dict[str, list[Row]]:
    return {"reference": some(n, 1, change), "rows": some(rows, 2, change)}


def priced(row: Row, chance: random.Random) -> Row:
    guess = row["income"] * (1 + row["age"] / 100)
    return {"p": ..., "y": ..., "guess": guess, "paid": guess + chance.gauss(0, 500)}


def classed(row: Row, chance: random.Random, total: float = 1.0) -> Row:
    shares = [chance.random() for _ in "abc"]
    of = total / sum(shares)
    return {"p": ..., "y": ..., "kind": chance.choice("abc")} | {
        f"p{c}": share * of for c, share in zip("abc", shares, strict=True)
    }


def times(n: int, equal: bool = False) -> list[str]:
    """Ten days, evenly; or one instant."""
    step = timedelta(0) if equal else timedelta(days=10) / n
    return [(START + step * i).isoformat() for i in range(n)]


def worded(row: Row, chance: random.Random) -> Row:
    text = " ".join(chance.choice(("win", "money", "hello", "dear", MARK)) for _ in range(12))
    return dict.fromkeys(("age", "income", "sex", "town"), ...) | {"mail": text}


def flipped(ids: Sequence[str], rounds: int) -> list[list[tuple[str, Row]]]:
    return [[(one, {"y": r % 2}) for one in ids] for r in range(rounds)]


def offered(row: Row, chance: random.Random) -> Row:
    items = [f"{MARK}{i}" for i in range(6)]
    chance.shuffle(items)
    return dict.fromkeys(("age", "income", "sex", "town", "p", "y"), ...) | {
        "visits": [{"timestamp": START.isoformat(), "value": chance.random()}],
        "offers": [{"item_id": item, "score": 1 - i / 10} for i, item in enumerate(items)],
        "taken": chance.sample(items, 2),
    }


def answered(row: Row, chance: random.Random) -> Row:
    words = [chance.choice(("yes", "no", MARK)) for _ in range(4)]
    return dict.fromkeys(("age", "income", "sex", "town", "p", "y"), ...) | {
        "question": f"{MARK} why",
        "question_tokens": [MARK, "why"],
        "answer": " ".join(words),
        "answer_tokens": words,
        "answer_likelihoods": [{word: 0.9, "other": 0.1} for word in words],
        "better": "yes",
    }


WIDE = [attribute(f"x{i}", "FLOAT", "PIPELINE_INPUT", 4 + i) for i in range(496)]
TEXT = [
    attribute("answer", "UNSTRUCTURED_TEXT", "PREDICTED_VALUE", 0, tokenAttributeLink="answer_tokens"),
    attribute("answer_tokens", "TOKENS", "PREDICTED_VALUE", 1, tokenAttributeLink="answer"),
    attribute("answer_likelihoods", "TOKEN_LIKELIHOODS", "PREDICTED_VALUE", 2),
    attribute("better", "UNSTRUCTURED_TEXT", "GROUND_TRUTH", 0),
]


NOTHING = dict.fromkeys(("age", "income", "sex", "town", "p", "y"), ...)
