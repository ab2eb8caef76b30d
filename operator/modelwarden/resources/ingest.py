"""What the door takes in: limits, sampling, clocks. All of it can be changed while rows arrive."""

from typing import Annotated

from pydantic import Field

from modelwarden.resources.quantities import Duration, Quantity
from modelwarden.resources.schema import ResourceModel


class IngestLimits(ResourceModel):
    """Bounds of one request and of what waits."""

    max_body_size: Quantity = "64Mi"
    """Largest body of a request with rows; a larger one is answered with 413. Default 64Mi."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """Most rows in one request; more are answered with 413. Default 100000."""
    max_string_length: Annotated[int, Field(ge=1, le=16_777_216)] = 65_536
    """Longest text value in characters, and most elements of a list of texts, tokens or boxes; a row with a
    longer one is refused. Default 65536."""
    max_requests_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Most requests worked on at once; one more is answered with 429 and Retry-After. Default 64."""
    max_log_size: Quantity = "2Gi"
    """Most bytes that wait in the log for the tables; then requests are answered with 503. Default 2Gi."""
    max_columns: Annotated[int, Field(ge=1, le=100_000)] = 4000
    """Most columns of an uploaded file, counted as parquet does: a struct has one for each of its fields. A
    file with more is answered with 413. Default 4000."""
    max_file_size: Quantity = "4Gi"
    """Largest part of an upload that is a file; a larger one is answered with 413. Default 4Gi."""
    max_decompressed_size: Quantity = "64Gi"
    """Most bytes that one uploaded file may come to once unpacked: parquet pages, or the entries of a zip. A
    larger one is answered with 413. Default 64Gi."""
    max_row_groups: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Most row groups of a parquet file; more are answered with 413. Default 10000."""
    max_parts: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Most parts of an upload; more are answered with 413. Default 64."""
    max_zip_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """Most entries of a zip of images; more are answered with 413. Default 100000."""


class Sampling(ResourceModel):
    """Which part of the inferences is kept."""

    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of inferences to keep, chosen by a hash of their id, so the same id is always treated alike.
    What is left out is counted. Default 1."""


class Ingest(ResourceModel):
    """How rows are taken in."""

    limits: IngestLimits = IngestLimits()
    """Bounds of one request and of what waits."""
    sampling: Sampling = Sampling()
    """Which part of the inferences is kept."""
    max_future: Duration = "1h"
    """How far ahead of the cell's clock an inference's timestamp may be; a row further ahead is refused.
    Default 1h."""
