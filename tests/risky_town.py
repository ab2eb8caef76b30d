"""A model of loans with a hotspot: of people in the south who are over 60 it knows next to nothing."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from model_factory import attribute, monitored_model

from modelwarden.resources.cell import CellIdentity, identity_of
from modelwarden.resources.monitoredmodel import parse

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400


def identity(name: str = "loans", **spec: Any) -> CellIdentity:
    attributes = [
        attribute("age", "PIPELINE_INPUT", 0, valueType="INTEGER"),
        attribute("income", "PIPELINE_INPUT", 1),
        attribute("town", "PIPELINE_INPUT", 2, valueType="STRING", categorical=True),
        attribute("channel", "NON_INPUT_DATA", 0, valueType="STRING"),
        attribute("p", "PREDICTED_VALUE", 0, attributeLink="y", isPositivePredictedAttribute=True),
        attribute("y", "GROUND_TRUTH", 0, valueType="INTEGER", categorical=True, attributeLink="p"),
    ]
    return identity_of(parse(monitored_model("risk", name, attributes=attributes, **spec)))


def loans(rows: int, seed: int, days: float = 8, *, bad: bool = True, first_day: float = 0) -> pa.Table:
    """So many loans with their labels, spread over days; `bad`: with the hotspot."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    town = rng.choice(["north", "south", "west"], rows, p=[0.4, 0.4, 0.2])
    true = rng.random(rows) < 0.4
    wrong = rng.random(rows) < np.where(bad & (age > 60) & (town == "south"), 0.6, 0.12)
    p = np.where(true ^ wrong, 0.5 + rng.random(rows) / 2, rng.random(rows) / 2)
    income = rng.lognormal(3, 0.5, rows)
    at = (START.timestamp() + (first_day + np.sort(rng.random(rows)) * days) * DAY) * 1e6
    times = pa.array(at.astype(np.int64)).cast(pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "partner_inference_id": pa.array([f"loan-{seed}-{i}" for i in range(rows)]),
            "inference_timestamp": times,
            "ground_truth_timestamp": times,
            "age": pa.array(age),
            "income": pa.array(income, mask=rng.random(rows) < 0.05),
            "town": pa.array(town),
            "channel": pa.array(rng.choice(["web", "desk"], rows)),
            "p": pa.array(p),
            "y": pa.array(true.astype(np.int64)),
        }
    )


def as_file(table: pa.Table) -> bytes:
    body = io.BytesIO()
    pq.write_table(table, body)
    return body.getvalue()
