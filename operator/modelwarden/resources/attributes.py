"""The attributes of a model as its owner declares them: the 16 documented keys, and what we add to them.

Rules that need one attribute alone stand here, as CEL; rules between attributes are in `resolution`.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.schema import ResourceModel, Rule, validations

MAX_ATTRIBUTES = 1000
MAX_CATEGORIES = 100
MAX_BINS = 50
MAX_NAME = 255

# Columns that every table has; and what starts with `__` belongs to readers (`__index_level_0__`).
RESERVED_NAMES = (
    "partner_inference_id",
    "inference_timestamp",
    "received_timestamp",
    "batch_id",
    "ground_truth_timestamp",
    "settings_generation",
)


class InputType(StrEnum):
    """What goes into the model."""

    TABULAR = "TABULAR"
    IMAGE = "IMAGE"
    NLP = "NLP"
    TIME_SERIES = "TIME_SERIES"


class OutputType(StrEnum):
    """What comes out of the model."""

    REGRESSION = "REGRESSION"
    MULTICLASS = "MULTICLASS"
    MULTILABEL = "MULTILABEL"
    OBJECT_DETECTION = "OBJECT_DETECTION"
    TOKEN_SEQUENCE = "TOKEN_SEQUENCE"  # noqa: S105 - a documented enum value
    RANKED_LIST = "RANKED_LIST"


class ValueType(StrEnum):
    """The type of an attribute's values."""

    STRING = "STRING"
    INTEGER = "INTEGER"
    FLOAT = "FLOAT"
    BOOLEAN = "BOOLEAN"
    TIMESTAMP = "TIMESTAMP"
    UNSTRUCTURED_TEXT = "UNSTRUCTURED_TEXT"
    IMAGE = "IMAGE"
    BOUNDING_BOX = "BOUNDING_BOX"
    TOKENS = "TOKENS"
    TOKEN_LIKELIHOODS = "TOKEN_LIKELIHOODS"  # noqa: S105 - a documented enum value
    RANKED_LIST = "RANKED_LIST"
    ARRAY_STRING = "ARRAY(STRING)"
    TIME_SERIES = "TIME_SERIES"


class Stage(StrEnum):
    """Where in a prediction an attribute belongs."""

    PIPELINE_INPUT = "PIPELINE_INPUT"
    PREDICT_FUNCTION_INPUT = "PREDICT_FUNCTION_INPUT"
    NON_INPUT_DATA = "NON_INPUT_DATA"
    PREDICTED_VALUE = "PREDICTED_VALUE"
    GROUND_TRUTH = "GROUND_TRUTH"
    GROUND_TRUTH_CLASS = "GROUND_TRUTH_CLASS"


class Sensitivity(StrEnum):
    """What becomes of an attribute's values before they reach a disk."""

    KEEP = "keep"
    HASH = "hash"
    MASK = "mask"
    DROP = "drop"


NUMERIC = frozenset({ValueType.INTEGER, ValueType.FLOAT})

AttributeName = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
]
CategoryValue = Annotated[str, StringConstraints(max_length=255)]


class Category(ResourceModel):
    """One value that a categorical attribute can have."""

    value: CategoryValue
    """The value, written as text whatever the attribute's type is: "1", "DW00", "true"."""
    label: Annotated[str, StringConstraints(max_length=255)] | None = None
    """A name for people. May be changed at any time."""


class Bin(ResourceModel):
    """One range of a number, by which groups are formed. The start is outside, the end inside."""

    continuous_start: float | None = None
    """Values above this belong to the bin. Left out: no lower bound."""
    continuous_end: float | None = None
    """Values up to and including this belong to the bin. Left out: no upper bound."""


# On the list and not on each bin: 1000 evaluations for a wide model instead of 50 000.
_BIN_RULES = (
    Rule(
        rule="self.all(b, has(b.continuousStart) || has(b.continuousEnd))",
        message="a bin needs continuousStart, continuousEnd or both",
    ),
    Rule(
        rule="self.all(b, !has(b.continuousStart) || !has(b.continuousEnd)"
        " || b.continuousStart < b.continuousEnd)",
        message="continuousStart of a bin must be less than its continuousEnd",
    ),
)
_RESERVED_IN_CEL = ", ".join(f"'{name}'" for name in RESERVED_NAMES)


class Attribute(ResourceModel):
    """One column of the model: an input, data beside the inputs, a prediction, or the truth."""

    name: AttributeName
    """Name of the attribute, unique in the model, letters, digits and _ only. It is the key in inferences."""
    label: Annotated[str, StringConstraints(max_length=255)] | None = None
    """A friendly name, for attributes whose name is a code. May be changed at any time."""
    value_type: ValueType
    """Type of the values: STRING, INTEGER, FLOAT, BOOLEAN, TIMESTAMP, or one of the types for text, images,
    lists."""
    stage: Stage
    """Where the attribute belongs: an input, data beside the inputs, a prediction, or ground truth."""
    position: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Place among the attributes of the same stage, counted from 0. Gaps are fine, duplicates are not. Left
    out: the next free place in the order of the list."""
    categorical: bool = False
    """Whether the attribute has a limited number of values. Default false."""
    categories: Annotated[tuple[Category, ...], Field(max_length=MAX_CATEGORIES)] = ()
    """The values of a categorical attribute. May be left out: then the reference data tell. At most 100."""
    min_range: float | None = None
    """Lowest value to be expected of a number. Advice only: lower values are taken in."""
    max_range: float | None = None
    """Highest value to be expected of a number. Advice only: higher values are taken in."""
    monitor_for_bias: bool = False
    """Whether the model's behaviour is compared between the groups of this attribute. Default false."""
    bins: Annotated[
        tuple[Bin, ...], Field(max_length=MAX_BINS, json_schema_extra=validations(*_BIN_RULES))
    ] = ()
    """Ranges that form the groups of a number that is monitored for bias, lowest first, without overlap."""
    is_unique: bool = False
    """Whether the values are expected never to repeat. Advice only. Default false."""
    is_positive_predicted_attribute: bool = False
    """Marks the prediction of the positive class in a model of two classes. Default false."""
    attribute_link: AttributeName | None = None
    """On a prediction the name of its ground truth, and on that ground truth the name of the prediction."""
    token_attribute_link: AttributeName | None = None
    """Joins a text and its tokens: on each the name of the other."""
    gt_class_link: CategoryValue | None = None
    """On a prediction the value of the GROUND_TRUTH_CLASS attribute that means this class."""
    implicit: bool = False
    """Whether the attribute is derived from others and never sent. Set by systems that write out whole
    models."""
    sensitivity: Sensitivity | None = None
    """What is stored of a value: keep it, hash it (STRING only), mask it (stored as missing) or drop the
    column's values. Takes effect on
    rows that arrive after the change. Left out: keep."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule=f"!(self.name in [{_RESERVED_IN_CEL}]) && !self.name.startsWith('__')",
                message=f"name is reserved: {', '.join(RESERVED_NAMES)} and names that start with __"
                " are columns of Modelwarden's own",
                field_path=".name",
            ),
            Rule(
                rule="!has(self.categories) || self.categories.size() == 0"
                " || !has(self.bins) || self.bins.size() == 0",
                message="an attribute has categories or bins, not both: keep categories if its values are"
                " names,"
                " bins if they are numbers",
            ),
            Rule(
                rule="!has(self.minRange) || !has(self.maxRange) || self.minRange <= self.maxRange",
                message="minRange must not be greater than maxRange",
            ),
            Rule(
                rule="!(has(self.monitorForBias) && self.monitorForBias)"
                " || (has(self.categorical) && self.categorical)"
                " || !(self.valueType in ['INTEGER', 'FLOAT']) || (has(self.bins) && self.bins.size() > 0)",
                message="a number that is not categorical needs bins to be monitored for bias: add bins,"
                " or set"
                " categorical",
            ),
            Rule(
                rule="!has(self.sensitivity) || self.sensitivity != 'hash' || self.valueType == 'STRING'",
                message="only STRING attributes can be hashed: use mask or drop",
                field_path=".sensitivity",
            ),
        )
    )
