"""Inputs of a model as a matrix of numbers: fitted to the reference in a Job, applied to each new row.

Each column becomes one feature, a text several:

- a number, a time (seconds) or the length of a list: (x − least) / (most − least) of the reference, so 0 to 1
  there and outside of it beyond; a missing one is −0.25;
- a category or a boolean: its surprise in bits, −log2 of its share of the reference. The rarer, the further
  from the rest. Categories of at least one row in a hundred are told apart even where equally frequent. A
  missing value is a category. The 1000 most frequent are kept; the others share one number, that of their
  mean frequency; if there are no others, what was never seen counts as seen half a time;
- a text: see `text_features`.

A column with one value only, or that gives one number for every row, is left out, with the reason. Kept are
numbers and hashes of categories, no values. Must not know what the matrix is for.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.cells import as_floats, category_text
from modelwarden_server.analysis.columns import Column, Kind
from modelwarden_server.analysis.text_features import TEXT, TEXT_FEATURES, TextCoder, fit_text
from modelwarden_server.analysis.trees import Floats, Matrix

MOST_CATEGORIES: Final = 1000
MOST_TEXTS: Final = 16
MISSING: Final = -0.25
_TOLD_APART: Final = 0.01
_STEP: Final = 1 / 64
_LARGEST: Final = 3e38
_LONG_TEXT: Final = 2048
Keys = npt.NDArray[np.uint64]
NUMBER: Final = "number"
CATEGORY: Final = "category"


@dataclass(frozen=True)
class NumberCode:
    """A column that is a number, or stands for one."""

    name: str
    least: float
    most: float
    coding: ClassVar[str] = NUMBER

    def encode(self, values: pa.Array, out: Matrix) -> None:
        """The feature of each value, into the one column of `out`."""
        numbers, missing = as_numbers(values)
        span = self.most - self.least
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (numbers - self.least) / (span if span > 0 else 1.0)
        np.clip(scaled, -_LARGEST, _LARGEST, out=scaled)
        scaled[missing] = MISSING
        out[:, 0] = scaled


@dataclass(frozen=True, eq=False)
class CategoryCode:
    """A column of categories: the kept ones' hashes, ascending, and what each becomes."""

    name: str
    keys: Keys
    surprise: npt.NDArray[np.float32]
    missing: float
    other: float
    coding: ClassVar[str] = CATEGORY

    def encode(self, values: pa.Array, out: Matrix) -> None:
        """See NumberCode."""
        coded = values.dictionary_encode()
        keys = np.array(
            [category_key(text) for text in map(category_text, coded.dictionary.to_pylist())], np.uint64
        )
        found = np.append(self._of(keys), np.float32(self.missing))
        index = pc.fill_null(coded.indices.cast(pa.int64()), len(keys)).to_numpy(zero_copy_only=False)
        out[:, 0] = found[index]

    def _of(self, keys: Keys) -> npt.NDArray[np.float32]:
        if not len(self.keys):
            return np.full(len(keys), self.other, dtype=np.float32)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = np.where(self.keys[at] == keys, self.surprise[at], np.float32(self.other))
        found[keys == _NO_TEXT] = self.missing
        return found.astype(np.float32)


Code = NumberCode | CategoryCode | TextCoder


@dataclass(frozen=True, eq=False)
class Encoder:
    """The codes of the columns that are used, in the order of the model's attributes."""

    codes: tuple[Code, ...]
    owner: npt.NDArray[np.int64] = field(init=False)
    """Of each feature the place of its column among `columns`."""

    def __post_init__(self) -> None:
        widths = [width_of(code) for code in self.codes]
        object.__setattr__(self, "owner", np.repeat(np.arange(len(widths)), widths))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are read."""
        return tuple(code.name for code in self.codes)

    @property
    def features(self) -> int:
        """How many numbers a row becomes."""
        return len(self.owner)

    @property
    def bytes_a_row(self) -> int:
        """Memory of a row while it is encoded, about."""
        texts = sum(isinstance(code, TextCoder) for code in self.codes)
        return 4 * self.features + _LONG_TEXT * texts

    def encode(self, rows: pa.RecordBatch) -> Matrix:
        """The matrix of the rows, which have at least the columns by name."""
        out: Matrix = np.empty((rows.num_rows, self.features), dtype=np.float32, order="F")
        start = 0
        for code in self.codes:
            width = width_of(code)
            code.encode(rows.column(rows.schema.get_field_index(code.name)), out[:, start : start + width])
            start += width
        return out

    def manifest(self) -> list[dict[str, Any]]:
        """What an artefact's manifest says of it."""
        return [_told(code) for code in self.codes]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is too long for a manifest."""
        categories = [code for code in self.codes if isinstance(code, CategoryCode)]
        texts = [code for code in self.codes if isinstance(code, TextCoder)]
        found: dict[str, npt.NDArray[Any]] = {}
        if categories:
            found["category_keys"] = np.concatenate([code.keys for code in categories])
            found["category_surprise"] = np.concatenate([code.surprise for code in categories])
        if texts:
            found["text_rarity"] = np.stack([code.rarity for code in texts])
            found["text_centre"] = np.stack([code.centre for code in texts])
        return found

    @classmethod
    def of(cls, manifest: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> "Encoder":
        """The encoder in an artefact. Raises ValueError for what `fit_encoder` would not make."""
        if not isinstance(manifest, list) or not manifest:
            raise ValueError("the encoding names no columns")
        codes: list[Code] = []
        kept = texts = 0
        for told in manifest:
            try:
                match told["coding"]:
                    case "number":
                        codes.append(_number(told))
                    case "category":
                        codes.append(_category(told, arrays, kept))
                        kept += int(told["categories"])
                    case "text":
                        codes.append(_text(told, arrays, texts))
                        texts += 1
                    case other:
                        raise ValueError(f"the encoding has the coding {other!r}")
            except (KeyError, TypeError, IndexError) as error:
                raise ValueError(f"the encoding of a column cannot be understood: {error!r}") from None
        if kept != len(arrays.get("category_keys", ())) or texts != len(arrays.get("text_rarity", ())):
            raise ValueError("the encoding's arrays do not fit its columns")
        if len({code.name for code in codes}) != len(codes):
            raise ValueError("the encoding names a column twice")
        return cls(tuple(codes))


def width_of(code: Code) -> int:
    """How many features it gives."""
    return TEXT_FEATURES if isinstance(code, TextCoder) else 1


def coding_of(column: Column) -> str | None:
    """How a column is encoded; None if it cannot be."""
    if column.declared_kind is Kind.CATEGORY:
        return CATEGORY
    if column.declared_kind is Kind.NUMERIC:
        return None if column.value_type == "TIME_SERIES" else NUMBER
    return {"TIMESTAMP": NUMBER, "UNSTRUCTURED_TEXT": TEXT}.get(column.value_type)


@dataclass(frozen=True)
class Fitted:
    """An encoder, and why columns are not in it, by name."""

    encoder: Encoder
    left_out: Mapping[str, str]


def fit_encoder(columns: Sequence[Column], rows: pa.Table) -> Fitted:
    """The encoder for these columns of the reference's rows (all of them, or a sample)."""
    codes: list[Code] = []
    left_out: dict[str, str] = {}
    texts = 0
    for column in columns:
        values = rows.column(column.name).combine_chunks()
        coding = coding_of(column)
        if coding is None:
            left_out[column.name] = f"values of the type {column.value_type} are not encoded"
            continue
        if coding == TEXT and texts == MOST_TEXTS:
            left_out[column.name] = f"only {MOST_TEXTS} texts are encoded"
            continue
        code = _fitted(coding, column.name, values)
        if isinstance(code, str):
            left_out[column.name] = code
            continue
        texts += coding == TEXT
        codes.append(code)
    return Fitted(Encoder(tuple(codes)), left_out)


def as_numbers(values: pa.Array) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Values as numbers, and which are missing (null or NaN): times as seconds since 1970."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
        numbers, null = as_floats(values)
        return numbers / 1e6, null
    numbers, null = as_floats(values)
    return numbers, null | np.isnan(numbers)


def category_key(text: str | None) -> int:
    """The hash by which a category is known."""
    if text is None:
        return int(_NO_TEXT)
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=b"mw-categ").digest()
    return int.from_bytes(digest, "little")


_NO_TEXT: Final = np.uint64(0)


def _fitted(coding: str, name: str, values: pa.Array) -> Code | str:
    if values.null_count == len(values):
        return "all its values are missing"
    match coding:
        case "category":
            return _fit_category(name, values)
        case "text":
            return fit_text(name, values)
    return _fit_number(name, values)


def _fit_number(name: str, values: pa.Array) -> NumberCode | str:
    numbers, missing = as_numbers(values)
    there = numbers[~missing & np.isfinite(numbers)]
    if not len(there):
        return "all its values are missing"
    least, most = float(there.min()), float(there.max())
    if least == most and not missing.any():
        return "all its values are the same"
    if not np.isfinite(most - least):
        return "its values are too far apart for a number of 64 bits"
    return NumberCode(name, least, most)


def _fit_category(name: str, values: pa.Array) -> CategoryCode | str:
    coded = values.dictionary_encode()
    index = coded.indices.drop_null().to_numpy(zero_copy_only=False)
    texts = [category_text(value) for value in coded.dictionary.to_pylist()]
    counts = np.bincount(index, minlength=len(texts))
    rows = len(values)
    missing = rows - int(sum(c for c, text in zip(counts.tolist(), texts, strict=True) if text is not None))
    known = [(c, text) for c, text in zip(counts.tolist(), texts, strict=True) if text is not None and c]
    if not known:
        return "all its values are missing"
    known.sort(key=lambda one: (-one[0], one[1]))
    kept, rest = known[:MOST_CATEGORIES], known[MOST_CATEGORIES:]
    surprises = _surprises([c for c, _ in kept], rows)
    unseen = float(np.log2(2 * rows))
    other = float(np.log2(rows * len(rest) / sum(c for c, _ in rest))) if rest else unseen
    absent = float(np.log2(rows / missing)) if missing else unseen
    numbers = {*surprises, *([other] if rest else []), *([absent] if missing else [])}
    if len(numbers) < 2:
        one = len(known) == 1
        return "all its values are the same" if one else "all its values are equally frequent and rare"
    keys = np.array([category_key(text) for _, text in kept], dtype=np.uint64)
    order = np.argsort(keys)
    return CategoryCode(name, keys[order], np.array(surprises, dtype=np.float32)[order], absent, other)


def _surprises(counts: Sequence[int], rows: int) -> list[float]:
    """Bits of each category, the most frequent first; frequent ones at least a step apart."""
    found: list[float] = []
    for count in counts:
        bits = float(np.log2(rows / count))
        if found and count >= _TOLD_APART * rows:
            bits = max(bits, found[-1] + _STEP)
        found.append(bits)
    return found


def _told(code: Code) -> dict[str, Any]:
    match code:
        case NumberCode():
            return {"name": code.name, "coding": NUMBER, "least": code.least, "most": code.most}
        case CategoryCode():
            return {
                "name": code.name,
                "coding": CATEGORY,
                "categories": len(code.keys),
                "missing": code.missing,
                "other": code.other,
            }
        case TextCoder():
            return {"name": code.name, "coding": TEXT}


def _number(told: Mapping[str, Any]) -> NumberCode:
    least, most = float(told["least"]), float(told["most"])
    if not (np.isfinite(least) and np.isfinite(most) and least <= most):
        raise ValueError(f"the range of {told['name']!r} is none")
    return NumberCode(str(told["name"]), least, most)


def _category(told: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], start: int) -> CategoryCode:
    size = int(told["categories"])
    keys = arrays["category_keys"][start : start + size]
    surprise = arrays["category_surprise"][start : start + size]
    missing, other = float(told["missing"]), float(told["other"])
    if keys.dtype != np.uint64 or surprise.dtype != np.float32 or not len(keys) == len(surprise) == size:
        raise ValueError(f"the categories of {told['name']!r} are not of their types")
    if not (np.isfinite(surprise).all() and np.isfinite(missing) and np.isfinite(other)):
        raise ValueError(f"a category of {told['name']!r} has no number")
    if (keys[1:] <= keys[:-1]).any():
        raise ValueError(f"the categories of {told['name']!r} do not ascend")
    return CategoryCode(str(told["name"]), keys, surprise, missing, other)


def _text(told: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], place: int) -> TextCoder:
    return TextCoder(str(told["name"]), arrays["text_rarity"][place], arrays["text_centre"][place])
