"""Inputs as numbers: every value has one, whatever the reference looks like."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.encoding import MISSING, MOST_CATEGORIES, Encoder, fit_encoder
from modelwarden_server.analysis.text_features import TEXT_FEATURES

STAGE = "PIPELINE_INPUT"


def column(name: str, kind: str, *, categorical: bool = False) -> Column:
    return Column(name, kind, STAGE, categorical)


def fitted(kind: str, values: object, *, categorical: bool = False, type_: pa.DataType | None = None):
    table = pa.table({"a": pa.array(values, type_)})
    return fit_encoder([column("a", kind, categorical=categorical)], table)


def encoded(encoder: Encoder, values: object, type_: pa.DataType | None = None) -> list[float]:
    return encoder.encode(pa.record_batch({"a": pa.array(values, type_)}))[:, 0].tolist()


def test_numbers_lie_between_0_and_1_in_the_reference_and_a_missing_one_below() -> None:
    encoder = fitted("FLOAT", [10.0, 20.0, None, 15.0]).encoder
    got = encoded(encoder, [10.0, 20.0, 25.0, None, float("nan"), float("inf")])
    assert got[:5] == [0.0, 1.0, 1.5, MISSING, MISSING]
    assert np.isfinite(got[5])
    assert got[5] > 1e30


def test_times_are_seconds_and_lists_are_lengths() -> None:
    noon = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    times = [noon, noon + dt.timedelta(seconds=100)]
    kind = pa.timestamp("us", "UTC")
    encoder = fitted("TIMESTAMP", times, type_=kind).encoder
    assert encoded(encoder, [noon + dt.timedelta(seconds=50), None], kind) == [0.5, MISSING]
    encoder = fitted("ARRAY(STRING)", [["a"], ["a", "b", "c"]]).encoder
    assert encoded(encoder, [["x", "y"], [], None], pa.list_(pa.string())) == [0.5, -0.5, MISSING]


def test_a_category_is_its_surprise_in_bits() -> None:
    encoder = fitted("STRING", ["a"] * 8 + ["b"] * 4 + ["c"] * 3 + [None]).encoder
    got = encoded(encoder, ["a", "b", "c", None, "never"])
    np.testing.assert_allclose(got, [1.0, 2.0, np.log2(16 / 3), 4.0, 5.0], rtol=1e-6)


def test_categories_that_are_equally_frequent_are_told_apart() -> None:
    one, other = encoded(fitted("STRING", ["a", "b"] * 50).encoder, ["a", "b"])
    assert one != other


@pytest.mark.parametrize("values", [[1, 2, 1, 1], [True, False, True, True]])
def test_numbers_and_booleans_that_are_categories_are_known_again(values: list[object]) -> None:
    kind = "BOOLEAN" if isinstance(values[0], bool) else "INTEGER"
    encoder = fitted(kind, values, categorical=True).encoder
    assert encoded(encoder, values) == pytest.approx([np.log2(4 / 3), 2.0, np.log2(4 / 3), np.log2(4 / 3)])


def test_ten_thousand_categories_are_bounded_and_the_rare_ones_share_a_number() -> None:
    names = [f"id-{i}" for i in range(10_000)]
    encoder = fitted("STRING", ["usual"] * 5000 + names).encoder
    assert len(encoder.arrays()["category_keys"]) == MOST_CATEGORIES
    usual, one, other, new = encoded(encoder, ["usual", names[3], names[9999], "new"])
    assert one == other == new > usual + 10


@pytest.mark.parametrize(
    ("kind", "values", "type_", "said"),
    [
        ("FLOAT", [1.0] * 5, None, "the same"),
        ("FLOAT", [None] * 5, pa.float64(), "missing"),
        ("FLOAT", [float("nan")] * 5, None, "missing"),
        ("STRING", ["a"] * 5, None, "the same"),
        ("STRING", [None] * 5, pa.string(), "missing"),
        ("STRING", list("abcdefgh") * 500 + [f"x{i}" for i in range(0)], None, None),
        ("STRING", [f"x{i}" for i in range(500)], None, "equally frequent"),
        ("UNSTRUCTURED_TEXT", ["same words"] * 5, None, "the same"),
        ("UNSTRUCTURED_TEXT", [None] * 5, pa.string(), "missing"),
        ("IMAGE", ["a.png", "b.png"], None, "not encoded"),
        ("FLOAT", [-1.7e308, 1.7e308], None, "too far apart"),
    ],
)
def test_what_tells_rows_apart_is_used_and_what_does_not_is_left_out_with_the_reason(
    kind: str, values: list[object], type_: pa.DataType | None, said: str | None
) -> None:
    found = fitted(kind, values, type_=type_)
    if said is None:
        assert found.encoder.columns == ("a",)
    else:
        assert found.encoder.columns == ()
        assert said in found.left_out["a"]


def test_a_column_that_is_only_sometimes_missing_tells_that() -> None:
    assert encoded(fitted("FLOAT", [3.0, None, 3.0]).encoder, [3.0, None]) == [0.0, MISSING]


def texts(seed: int, rows: int, words: str) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words.split(), 12)) for _ in range(rows)]


USUAL = "the loan was paid back early late house car money bank client asked for more time"


def test_other_words_are_rarer_and_further_from_the_middle_of_texts() -> None:
    encoder = fitted("UNSTRUCTURED_TEXT", texts(1, 300, USUAL)).encoder
    other = "Der schnelle braune Fuchs springt über den faulen Hund 0123456789"
    batch = pa.record_batch({"a": [texts(2, 1, USUAL)[0], other, "", None, "é" * 5000]})
    usual, strange, empty, missing, long = encoder.encode(batch).tolist()
    assert encoder.features == TEXT_FEATURES
    assert strange[0] > usual[0] + 0.5
    assert strange[1] > 0.5 > usual[1]
    assert strange[2] < 0.3 < usual[2]
    assert missing == [-1.0] * TEXT_FEATURES
    assert np.isfinite(empty).all()
    assert long[3] == pytest.approx(np.log2(1 + 4000))  # 2000 characters of two bytes


def test_texts_are_encoded_the_same_in_any_split_of_rows() -> None:
    rows = [*texts(3, 200, USUAL), None, "", "x" * 3000, *texts(4, 50, USUAL)] * 3
    encoder = fitted("UNSTRUCTURED_TEXT", rows).encoder
    whole = encoder.encode(pa.record_batch({"a": rows}))
    pieces = [encoder.encode(pa.record_batch({"a": rows}).slice(at, 101)) for at in range(0, len(rows), 101)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def mixed() -> tuple[list[Column], pa.Table]:
    rng = np.random.default_rng(0)
    columns = [
        column("n", "FLOAT"),
        column("s", "STRING"),
        column("t", "UNSTRUCTURED_TEXT"),
        column("b", "BOOLEAN"),
    ]
    rows = {
        "n": rng.normal(size=60),
        "s": rng.choice(["x", "y", "z"], 60, p=[0.6, 0.3, 0.1]),
        "t": texts(5, 60, USUAL),
        "b": rng.random(60) < 0.3,
    }
    return columns, pa.table(rows)


def test_an_encoder_is_the_same_after_an_artefact_and_holds_no_value_of_a_row() -> None:
    columns, rows = mixed()
    encoder = fit_encoder(columns, rows).encoder
    again = Encoder.of(encoder.manifest(), encoder.arrays())
    batch = rows.to_batches()[0]
    np.testing.assert_array_equal(again.encode(batch), encoder.encode(batch))
    assert encoder.owner.tolist() == [0, 1, *[2] * TEXT_FEATURES, 3]
    for value in ("'x'", "'y'", "loan"):
        assert value not in repr(encoder.manifest())


@pytest.mark.parametrize("name", ["category_keys", "category_surprise", "text_rarity", "text_centre"])
def test_arrays_that_do_not_fit_are_refused(name: str) -> None:
    columns, rows = mixed()
    encoder = fit_encoder(columns, rows).encoder
    arrays = encoder.arrays()
    Encoder.of(encoder.manifest(), arrays)
    for other in (arrays[name][:-1], arrays[name].astype(np.float64) * np.nan):
        with pytest.raises(ValueError, match=r"encoding|categories"):
            Encoder.of(encoder.manifest(), arrays | {name: other})


def test_five_hundred_columns_with_holes_are_encoded() -> None:
    rng = np.random.default_rng(6)
    data = rng.normal(size=(120, 500))
    data[rng.random(data.shape) < 0.3] = np.nan
    names = [f"c{i}" for i in range(500)]
    rows = pa.table({name: data[:, i] for i, name in enumerate(names)})
    found = fit_encoder([column(name, "FLOAT") for name in names], rows)
    matrix = found.encoder.encode(rows.to_batches()[0])
    assert matrix.shape == (120, 500)
    assert np.isfinite(matrix).all()
