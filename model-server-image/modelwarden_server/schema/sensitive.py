"""What is not to be kept never reaches a disk: hashing, masking and dropping values before the log.

Must not be applied twice. A hash is keyed with a secret of the cell's volume, so that nobody can find a
value by hashing guesses; equal values have equal hashes, so groups can still be told apart.
"""

import hashlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.resources.attributes import Sensitivity


def protect(batch: pa.RecordBatch, rules: Mapping[str, Sensitivity], key: bytes) -> pa.RecordBatch:
    """The batch with the values of the named columns hashed (texts) or missing."""
    for name, rule in rules.items():
        index = batch.schema.get_field_index(name)
        if index < 0 or rule is Sensitivity.KEEP:
            continue
        field, column = batch.schema.field(index), batch.column(index)
        if rule is Sensitivity.HASH and pa.types.is_string(field.type):
            column = _hashed(column, key)
        else:
            column = pa.nulls(batch.num_rows, field.type)
        batch = batch.set_column(index, field, column)
    return batch


def _hashed(column: pa.Array, key: bytes) -> pa.Array:
    encoded = column.dictionary_encode()
    names = [
        hashlib.blake2b(text.encode(), digest_size=16, key=key, person=b"mw-sensitive").hexdigest()
        for text in encoded.dictionary.to_pylist()
    ]
    return pc.take(pa.array(names, pa.string()), encoded.indices)
