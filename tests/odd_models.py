"""Models, references and rows that nobody would draw in a textbook, each with what must come of it.

Only what is sent: nothing here starts a process.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model_stories import Spec, attribute, prediction, truth
from odd_rows import (
    BINARY,
    CLASSES,
    MARK,
    NOTHING,
    NUMBER,
    START,
    TEXT,
    WIDE,
    Row,
    answered,
    both,
    classed,
    flipped,
    inputs,
    model,
    offered,
    priced,
    some,
    worded,
)

SETTLED = {"Ready"}
WAITS = {"Pending"}
OFF = {"Disabled"}
NOT_READY = {"Pending", "Disabled", "Failed"}
ANY = {"Pending", "Disabled", "Failed", "Ready"}


@dataclass(frozen=True)
class Odd:
    """One odd model. `states`: for each kind of training the states that are right; `loss` is off but for
    regressions. `relabels`: rounds of labels that come later, each a list of (id, labels).
    """

    spec: Spec
    reference: Sequence[Row]
    rows: Sequence[Row]
    states: dict[str, set[str]]
    relabels: Sequence[Sequence[tuple[str, Row]]] = ()
    refused: bool = False
    """Some rows or labels are to be refused."""
    reference_refused: bool = False
    """A row of the reference is to be refused, and with it the file."""
    batches: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    """Metrics that GET performance must not tell."""
    one_instant: bool = False
    """All rows have the same time."""


NO_BIAS = {"anomaly": SETTLED, "bias": OFF | WAITS, "hotspots": ANY, "loss": OFF}
USUAL = {"anomaly": SETTLED, "bias": SETTLED, "hotspots": SETTLED, "loss": OFF}


def odd_models() -> dict[str, Callable[[], Odd]]:
    """By name; made when they are wanted, since some are large."""
    return {
        "nothing odd": lambda: Odd(model(BINARY), **both(1500, {}), states=USUAL),
        "constant inputs": lambda: Odd(
            model(BINARY),
            **both(1500, {"age": 30, "income": 1.0, "sex": "f", "town": MARK}),
            states=USUAL | {"anomaly": NOT_READY, "bias": ANY},
        ),
        "one constant column": lambda: Odd(model(BINARY), **both(1500, {"income": 1.0}), states=USUAL),
        "one column all missing": lambda: Odd(
            model(BINARY), **both(1500, {"income": None, "town": None}), states=USUAL
        ),
        "all inputs missing": lambda: Odd(
            model(BINARY),
            **both(1500, dict.fromkeys(("age", "income", "sex", "town"))),
            states=USUAL | {"anomaly": NOT_READY, "bias": NOT_READY, "hotspots": ANY},
        ),
        "one class": lambda: Odd(
            model(BINARY),
            **both(1500, {"y": 1}),
            withheld=("auc",),
            states=USUAL | {"bias": ANY},
        ),
        "one group": lambda: Odd(
            model(BINARY),
            **both(1500, {"sex": "f", "age": 30}),
            states=USUAL | {"bias": NOT_READY},
        ),
        "three rows": lambda: Odd(
            model(BINARY),
            reference=some(3),
            rows=some(3, 2),
            states={"anomaly": NOT_READY, "bias": NOT_READY, "hotspots": ANY, "loss": OFF},
            withheld=("auc", "accuracy"),
        ),
        "500 columns": lambda: Odd(
            model(BINARY, inputs(*WIDE)),
            **both(400, lambda _, c: {f"x{i}": c.random() for i in range(496)}, rows=400),
            states=USUAL | {"hotspots": ANY},
        ),
        "10 000 categories": lambda: Odd(
            model(BINARY),
            **both(20_000, lambda _, c: {"town": f"{MARK}{c.randrange(10_000)}"}, rows=12_000),
            states=USUAL,
        ),
        "10 000 groups": lambda: Odd(
            model(
                BINARY,
                inputs(
                    attribute("name", "STRING", "NON_INPUT_DATA", 0, categorical=True, monitorForBias=True)
                ),
            ),
            **both(15_000, lambda _, c: {"name": f"{MARK}{c.randrange(10_000)}"}, rows=12_000),
            states=USUAL,
        ),
        "labels back and forth": lambda: Odd(
            model(BINARY),
            **both(1500, {}),
            states=USUAL,
            relabels=flipped([f"r{i}" for i in range(400)], 5),
        ),
        "labels outside the categories": lambda: Odd(
            model(BINARY),
            reference=some(1500),
            rows=some(1500, 2, lambda _, c: {"y": c.choice((0, 1, 7, -1))}),
            states=USUAL,
        ),
        "labels of no class in the reference": lambda: Odd(
            model(BINARY),
            **both(1500, {"y": 7}),
            states=USUAL | {"bias": NOT_READY, "hotspots": ANY},
            withheld=("auc",),
        ),
        "predictions outside 0 to 1": lambda: Odd(
            model(
                [
                    attribute(
                        "p",
                        "FLOAT",
                        "PREDICTED_VALUE",
                        0,
                        attributeLink="y",
                        isPositivePredictedAttribute=True,
                    ),
                    truth("y", 0, attributeLink="p"),
                ]
            ),
            **both(1500, lambda _, c: {"p": c.choice((-3.0, 0.2, 0.8, 40.0, 1e300))}),
            states=USUAL | {"bias": ANY},
        ),
        "predictions missing": lambda: Odd(
            model(BINARY),
            reference=some(1500),
            rows=some(1500, 2, {"p": None}),
            refused=True,
            states=USUAL | {"hotspots": ANY},
            withheld=("auc", "accuracy"),
        ),
        "a reference without predictions": lambda: Odd(
            model(BINARY),
            reference=some(1500, 1, {"p": None}),
            rows=some(1500, 2),
            states={"anomaly": WAITS, "bias": WAITS, "hotspots": ANY, "loss": OFF},
            reference_refused=True,
        ),
        "predictions 0 or 1": lambda: Odd(
            model(BINARY), **both(1500, lambda r, _c: {"p": float(r["p"] > 0.5)}), states=USUAL
        ),
        "one instant": lambda: Odd(
            model(BINARY), **both(1500, {}), states=USUAL | {"hotspots": ANY}, one_instant=True
        ),
        "classes that do not sum to one": lambda: Odd(
            model(CLASSES),
            **both(1500, lambda r, c: classed(r, c, 2.7)),
            states=USUAL | {"bias": OFF},
        ),
        "three classes, one never labelled": lambda: Odd(
            model(CLASSES),
            **both(1500, lambda r, c: classed(r, c) | {"kind": c.choice("ab")}),
            states=USUAL | {"bias": OFF},
        ),
        "classes that nobody declared": lambda: Odd(
            model(CLASSES),
            reference=some(1500, 1, classed),
            rows=some(1500, 2, lambda r, c: classed(r, c) | {"kind": c.choice(("a", f"{MARK}x"))}),
            states=USUAL | {"bias": OFF},
        ),
        "no labels": lambda: Odd(
            model(BINARY),
            **both(1500, {"y": ...}),
            withheld=("auc", "accuracy"),
            states=USUAL | {"bias": WAITS | OFF, "hotspots": ANY},
        ),
        "a regression": lambda: Odd(
            model(NUMBER, output="REGRESSION"),
            **both(1500, priced),
            states=USUAL | {"bias": OFF, "loss": SETTLED},
        ),
        "a regression of one number": lambda: Odd(
            model(NUMBER, output="REGRESSION"),
            **both(1500, lambda r, c: priced(r, c) | {"guess": 5.0, "paid": 5.0}),
            states=USUAL | {"bias": OFF, "loss": ANY},
        ),
        "a regression with NaN and infinity": lambda: Odd(
            model(NUMBER, output="REGRESSION"),
            reference=some(1500, 1, priced),
            rows=some(
                1500,
                2,
                lambda r, c: (
                    priced(r, c)
                    | c.choice(
                        (
                            {},
                            {"paid": math.nan},
                            {"paid": math.inf},
                            {"guess": math.nan},
                            {"guess": -math.inf},
                        )
                    )
                ),
            ),
            states=USUAL | {"bias": OFF, "loss": SETTLED, "hotspots": ANY},
            refused=True,
        ),
        "a regression of NaN and infinity in the reference": lambda: Odd(
            model(NUMBER, output="REGRESSION"),
            reference=some(
                1500, 1, lambda r, c: priced(r, c) | c.choice(({}, {"paid": math.nan}, {"guess": math.inf}))
            ),
            rows=some(1500, 2, priced),
            states={"anomaly": WAITS, "bias": OFF, "hotspots": ANY, "loss": WAITS},
            reference_refused=True,
        ),
        "a regression of huge numbers": lambda: Odd(
            model(NUMBER, output="REGRESSION"),
            **both(
                1500,
                lambda r, c: priced(r, c) | {"paid": c.choice((1e308, -1e308)), "guess": c.gauss(0, 1e307)},
            ),
            states=USUAL | {"bias": OFF, "loss": ANY},
        ),
        "batches": lambda: Odd(
            model(BINARY, isBatch=True),
            **both(1500, {}),
            states=USUAL,
            batches=("one", "two", "three"),
        ),
        "text": lambda: Odd(
            model(
                BINARY,
                [attribute("mail", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT", 0)],
                inputType="NLP",
                textDelimiter=r"\W+",
            ),
            **both(1500, worded),
            states=NO_BIAS,
        ),
        "images": lambda: Odd(
            model(
                BINARY,
                [
                    attribute("age", "INTEGER", "NON_INPUT_DATA", 0),
                    attribute("picture", "IMAGE", "PIPELINE_INPUT", 0),
                ],
                inputType="IMAGE",
                pixelHeight=24,
                pixelWidth=24,
            ),
            **both(800, {"income": ..., "sex": ..., "town": ..., "picture": None}, rows=800),
            states=NO_BIAS | {"anomaly": OFF},
        ),
        "a time series": lambda: Odd(
            model(
                NUMBER,
                [attribute("visits", "TIME_SERIES", "PIPELINE_INPUT", 0)],
                "REGRESSION",
                inputType="TIME_SERIES",
            ),
            **both(
                600,
                lambda _, c: (
                    NOTHING
                    | {
                        "visits": [{"timestamp": START.isoformat(), "value": c.random()}],
                        "guess": c.random(),
                        "paid": c.random(),
                    }
                ),
                rows=600,
            ),
            states=NO_BIAS | {"anomaly": OFF, "loss": ANY},
        ),
        "ranked lists": lambda: Odd(
            model(
                [
                    attribute("offers", "RANKED_LIST", "PREDICTED_VALUE", 0, attributeLink="taken"),
                    attribute("taken", "ARRAY(STRING)", "GROUND_TRUTH", 0, attributeLink="offers"),
                ],
                [attribute("visits", "TIME_SERIES", "PIPELINE_INPUT", 0)],
                "RANKED_LIST",
                inputType="TIME_SERIES",
            ),
            **both(600, offered, rows=600),
            states=NO_BIAS | {"anomaly": OFF, "hotspots": OFF},
        ),
        "token sequences": lambda: Odd(
            model(
                TEXT,
                [
                    attribute("question", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT", 0),
                    attribute("question_tokens", "TOKENS", "PREDICT_FUNCTION_INPUT", 0),
                ],
                "TOKEN_SEQUENCE",
                inputType="NLP",
            ),
            **both(600, answered, rows=600),
            states=NO_BIAS | {"anomaly": ANY, "hotspots": OFF},
        ),
        "objects in images": lambda: Odd(
            model(
                [
                    attribute("boxes", "BOUNDING_BOX", "PREDICTED_VALUE", 0, attributeLink="marked"),
                    attribute("marked", "BOUNDING_BOX", "GROUND_TRUTH", 0, attributeLink="boxes"),
                ],
                [attribute("picture", "IMAGE", "PIPELINE_INPUT", 0)],
                "OBJECT_DETECTION",
                inputType="IMAGE",
                pixelHeight=24,
                pixelWidth=24,
                imageClassLabels=["car", "bicycle"],
            ),
            **both(
                600,
                NOTHING | {"picture": None, "boxes": [[0, 0.5, 1, 1, 5, 5]], "marked": [[1, 1, 1, 1, 6, 6]]},
                rows=600,
            ),
            states=NO_BIAS | {"anomaly": OFF, "hotspots": OFF},
        ),
        "several labels": lambda: Odd(
            model(
                [
                    *(prediction(f"p{i}", i, attributeLink=f"g{i}") for i in range(2)),
                    *(truth(f"g{i}", i, attributeLink=f"p{i}") for i in range(2)),
                ],
                output="MULTILABEL",
            ),
            **both(
                1500,
                lambda _, c: (
                    {"p": ..., "y": ...}
                    | {f"p{i}": c.random() for i in range(2)}
                    | {f"g{i}": c.randrange(2) for i in range(2)}
                ),
            ),
            states=USUAL | {"bias": OFF, "hotspots": ANY},
        ),
    }
