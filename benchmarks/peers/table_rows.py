"""The rows that every table benchmark writes: thirty columns of the usual kinds. numpy and pyarrow only."""

import numpy as np
import pyarrow as pa

FLOATS = tuple(f"x{i}" for i in range(20))
INTEGERS = tuple(f"n{i}" for i in range(3))
TEXTS = ("region", "channel")
ID = "partner_inference_id"
MOMENT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        (ID, pa.string()),
        ("inference_timestamp", MOMENT),
        ("received_timestamp", MOMENT),
        *((name, pa.float64()) for name in FLOATS),
        *((name, pa.int64()) for name in INTEGERS),
        *((name, pa.string()) for name in TEXTS),
        ("truth", pa.float64()),
        ("ground_truth_timestamp", MOMENT),
    ]
)
LABELS = pa.schema([(ID, pa.string()), ("truth", pa.float64()), ("ground_truth_timestamp", MOMENT)])
_START = 1_700_000_000_000_000


def rows(count: int, first: int = 0) -> pa.Table:
    """Rows number `first` and following, the same at every call. Their labels have not come yet."""
    rng = np.random.default_rng(first)
    times = _START + 1000 * np.arange(first, first + count)
    texts = np.array([f"value-{i}" for i in range(12)], dtype=object)
    columns = [
        ids(np.arange(first, first + count)),
        pa.array(times, MOMENT),
        pa.array(times + 500, MOMENT),
        *(pa.array(rng.normal(size=count)) for _ in FLOATS),
        *(pa.array(rng.integers(0, 10_000, count)) for _ in INTEGERS),
        *(pa.array(texts[rng.integers(0, len(texts), count)], pa.string()) for _ in TEXTS),
        pa.nulls(count, pa.float64()),
        pa.nulls(count, MOMENT),
    ]
    return pa.table(columns, schema=SCHEMA)


def ids(numbers: np.ndarray) -> pa.Array:
    """The ids of rows: as long as a UUID, and no two alike."""
    scattered = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    both = zip(scattered.tolist(), numbers.tolist(), strict=True)
    return pa.array([f"{a:016x}-{b:012d}" for a, b in both], pa.string())


def labels(count: int, of: int, seed: int) -> pa.Table:
    """Labels of `count` of the first `of` rows, spread over all of them."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(of, count, replace=False)
    times = pa.array(_START + 1000 * chosen + 7_000_000, MOMENT)
    return pa.table([ids(chosen), pa.array(rng.integers(0, 2, count).astype(float)), times], schema=LABELS)
