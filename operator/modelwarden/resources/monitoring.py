"""What is computed from the rows: windows, drift, segments. All of it can be changed; nothing restarts."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.attributes import AttributeName
from modelwarden.resources.quantities import Duration, cel_seconds
from modelwarden.resources.schema import ResourceModel, Rule, validations

SLICE_SECONDS = 300


class DriftMetric(StrEnum):
    """How far two distributions are apart."""

    PSI = "PSI"
    KL_DIVERGENCE = "KLDivergence"
    JS_DIVERGENCE = "JSDivergence"
    HELLINGER_DISTANCE = "HellingerDistance"
    HYPOTHESIS_TEST = "HypothesisTest"


Threshold = Annotated[float, Field(ge=0, le=1_000_000)]


class AttributeThreshold(ResourceModel):
    """A drift threshold for one attribute."""

    attribute: AttributeName
    """Name of the attribute."""
    threshold: Threshold
    """The drift score at which this attribute counts as drifted, instead of driftThreshold."""


class SegmentCondition(ResourceModel):
    """One test on one attribute."""

    attribute: AttributeName
    """Name of the attribute that is tested."""
    comparator: Literal["eq", "in", "gt", "gte", "lt", "lte"] = "eq"
    """How the value is compared: eq, in, gt, gte, lt or lte. Default eq."""
    values: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=255)], ...], Field(min_length=1, max_length=100)
    ]
    """What the value is compared with, as text; several only with `in`."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule="self.values.size() == 1 || self.comparator == 'in'",
                message="only the comparator in takes several values",
                field_path=".values",
            )
        )
    )


class Segment(ResourceModel):
    """A part of the population whose numbers are kept apart at all times."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9]([-_a-zA-Z0-9]*)$")
    ]
    """Name of the segment, unique in the model."""
    where: Annotated[tuple[SegmentCondition, ...], Field(min_length=1, max_length=5)]
    """Tests that a row must pass, all of them."""


class Monitoring(ResourceModel):
    """What is compared with the reference, over which window, and what counts as drift."""

    window: Duration = "1d"
    """The span of inference time that one verdict covers; a multiple of five minutes. Default 1d."""
    minimum_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 200
    """Rows that a window needs for a verdict; below it the answer is InsufficientData. Default 200."""
    drift_metric: DriftMetric = DriftMetric.PSI
    """How drift is measured: PSI, KLDivergence, JSDivergence, HellingerDistance or HypothesisTest. Default
    PSI."""
    drift_threshold: Threshold | None = None
    """The score from which on an attribute counts as drifted, if it is also significant at the window's
    number of rows. Without one it is learnt from the reference: what chance alone makes of it at that number
    of rows, and at least a difference worth telling (a PSI of 0.05)."""
    thresholds: Annotated[
        tuple[AttributeThreshold, ...],
        Field(
            max_length=1000,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["attribute"]},
        ),
    ] = ()
    """Thresholds for single attributes."""
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of flagged attributes that may be flagged by chance (Benjamini-Hochberg). Default 0.05."""
    drifted_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the checked attributes that must have drifted before the model as a whole counts as unhealthy.
    Default 0.5."""
    segments: Annotated[
        tuple[Segment, ...],
        Field(
            max_length=20,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Parts of the population whose numbers are kept apart at all times."""
    label_delay: Duration | None = None
    """How long ground truth usually takes to arrive; windows younger than this are provisional."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule=f"{cel_seconds('self.window')} % {SLICE_SECONDS} == 0",
                message="window must be a multiple of five minutes, because counts are kept in slices of"
                " five minutes",
                field_path=".window",
            )
        )
    )
