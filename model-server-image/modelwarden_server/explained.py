"""Rows to be explained and explained rows, as Arrow between store, sidecar and model server.

A request is an Arrow IPC stream of the columns `id` and the model's inputs, as the table of inferences has
them; what it asks for beyond the plan stands in the schema's metadata. The answer is one of `EXPLAINED`, a
row for each row of the request in its order. The sidecar passes both on unread. Must not know how they are
made.
"""

from typing import Final

import pyarrow as pa

ID: Final = "id"

# Metadata of a request, all optional: lime or shap, rows to perturb, seconds for the whole request.
ALGORITHM, SAMPLES, SECONDS = b"algorithm", b"samples", b"seconds"
# Metadata of an answer: JSON lists of names, hashes, and the model's outputs in their order.
INPUTS, OUTPUTS, CODE_HASH, BACKGROUND_HASH = b"inputs", b"outputs", b"code_hash", b"background_hash"

EXPLAINED: Final = pa.schema(
    [
        pa.field(ID, pa.string()),
        # lime or shap; null where there is a failure
        pa.field("algorithm", pa.string()),
        # linear, trees, enumeration, kernel, lime, lime-text, lime-image: which way was taken, and why
        pa.field("path", pa.string()),
        pa.field("why", pa.string()),
        # probability, margin or value
        pa.field("units", pa.string()),
        # one for each output
        pa.field("prediction", pa.list_(pa.float64())),
        pa.field("expected", pa.list_(pa.float64())),
        # outputs x inputs, the inputs of the first output first; NaN where an input is missing
        pa.field("values", pa.list_(pa.float64())),
        # standard errors in the same order; null where values are exact
        pa.field("errors", pa.list_(pa.float64())),
        # rows that the user's predict was given for it
        pa.field("model_rows", pa.int64()),
        # JSON: tokens of texts, segments of images; null for tables
        pa.field("parts", pa.string()),
        # LIME: share of the most important inputs that come again with other seeds, 0 to 1; else null
        pa.field("stability", pa.float64()),
        # LIME: weighted R2 of the local model, one for each output; else null
        pa.field("fit", pa.list_(pa.float64())),
        # why there is no explanation; null where there is one
        pa.field("failure", pa.string()),
    ]
)
