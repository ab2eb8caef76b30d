"""The people of Massachusetts in the American Community Survey, 2015 to 2018: where they come from, how
they are read.

The tables are public US government data (ACS PUMS) that happen to travel inside the wheel of the
Python package nannyml (Apache-2.0). The wheel is downloaded once by pip, checked against its hash and
read as the zip file it is. Nothing of the package is installed, imported or run.

The tables carry a year and **no time of day, no date**. So the rows of a year are spread evenly over it, in
the order of their ids: the first at midnight of 1 January, the last just before the year ends. The time of a
single row is therefore made up; its year, its values and the order within the file are not. From 2017 on
the file lists people in group quarters (dormitories, nursing homes, prisons) by themselves, at the end of
2017 and the beginning of 2018, which is why those two months look so different from all the others.

What this module must not do: train, predict, or talk to a cell.
"""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

WHEEL = "nannyml-0.13.1-py3-none-any.whl"
WHEEL_SHA256 = "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869"
WHEEL_MEGABYTES = 23
TABLES = "nannyml/datasets/data/employment_MA_{}.pq"

INPUTS = (
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG",
    "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM",
)  # fmt: skip
"""What the model is shown of a person."""
PROTECTED = ("SEX", "RAC1P")
"""What the model is not shown, and watched for: sent along as non-input data."""
LABEL = "employed"


class WheelError(RuntimeError):
    """The wheel could not be had, or is not the one this example was written against."""


@dataclass(frozen=True)
class Census:
    """All rows, in id order, with `id` (int64), `year` (int64), the attributes and the label where it is
    known at once.
    """

    year_2015: pa.Table
    """68,785 people with their label."""
    later: pa.Table
    """208,892 people of 2016 to 2018, without labels."""
    later_labels: pa.Table
    """`id` and label of the same 208,892 people, apart: in life they are known long after the prediction."""


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the wheel and what is derived from it are kept between runs."""
    if own := environ.get("MODELWARDEN_CACHE"):
        return Path(own) / "census"
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "modelwarden" / "census"


def wheel(cache: Path) -> Path:
    """The wheel's path in `cache`; downloads it (23 MB) by pip if it is not there yet.

    Raises:
        WheelError: pip failed, or the file is not the expected one.
    """
    kept = cache / WHEEL
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # A folder of its own, then a rename: a download cut short never looks like a finished one.
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            _download(Path(unfinished))
            (Path(unfinished) / WHEEL).replace(kept)
    if (found := hashlib.sha256(kept.read_bytes()).hexdigest()) != WHEEL_SHA256:
        raise WheelError(f"{kept} has SHA-256 {found}, expected {WHEEL_SHA256}: delete it and try again")
    return kept


def _download(folder: Path) -> None:
    name, version = WHEEL.split("-")[:2]
    # The package's own limits (Python versions, platforms) do not matter for a file that is never installed.
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
        "--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder), f"{name}=={version}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise WheelError(f"pip could not download {name}=={version}: {done.stderr.strip()[-500:]}")


def read(wheel_path: Path) -> Census:
    """The three tables out of the wheel, cleaned: ages are integers, codes are strings, rows are in id
    order.
    """
    with zipfile.ZipFile(wheel_path) as archive:
        reference, analysis, labels = (
            _cleaned(pq.read_table(io.BytesIO(archive.read(TABLES.format(name)))))
            for name in ("reference", "analysis", "analysis_target")
        )
    people = ["id", "year", *INPUTS, *PROTECTED]
    return Census(
        year_2015=reference.select([*people, LABEL]),
        later=analysis.select(people),
        later_labels=labels.select(["id", LABEL]),
    )


def _cleaned(table: pa.Table) -> pa.Table:
    fields = []
    for field in table.schema:
        if pa.types.is_dictionary(field.type):
            fields.append(pa.field(field.name, pa.string()))
        elif field.name == "AGEP":
            fields.append(pa.field(field.name, pa.int64()))
        else:
            fields.append(pa.field(field.name, field.type))
    return table.cast(pa.schema(fields)).sort_by("id").combine_chunks()


def with_times(table: pa.Table) -> pa.Table:
    """The table with `partner_inference_id` and a made-up `inference_timestamp` (UTC, microseconds) for
    each row.

    Row i of the n rows of a year stands at i/n of that year, so the spacing within a year is even and
    nothing is random. Rows must be in id order.
    """
    years = table.column("year").to_numpy()
    stamps = np.empty(table.num_rows, dtype="int64")
    for year in np.unique(years):
        rows = np.flatnonzero(years == year)
        start, end = _microseconds(int(year)), _microseconds(int(year) + 1)
        stamps[rows] = start + np.arange(rows.size, dtype="int64") * (end - start) // rows.size
    ids = pc.binary_join_element_wise(
        "census",
        table.column("year").cast(pa.string()),
        pc.utf8_lpad(table.column("id").cast(pa.string()), 6, "0"),
        "-",
    )
    return table.append_column("partner_inference_id", ids).append_column(
        "inference_timestamp", pa.array(stamps, pa.timestamp("us", tz="UTC"))
    )


def known_after(stamps: pa.ChunkedArray, months: int) -> pa.Array:
    """When what became of people is known: all of a calendar month at once, so many months after it ended."""
    month = stamps.to_numpy().astype("datetime64[M]")
    return pa.array(
        (month + 1 + months).astype("datetime64[us]").astype("int64"), pa.timestamp("us", tz="UTC")
    )


def _microseconds(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
