"""From a request's body to columns: the fast path if every row is good, else the slow one.

The one entrance to parsing for every door. Must not know HTTP.
"""

from modelwarden_server.schema.compiled import CompiledSchema
from modelwarden_server.schema.fast import FastParser
from modelwarden_server.schema.parsed import Limits, ParsedRows
from modelwarden_server.schema.slow import SlowParser


class Parser:
    """Parser of one model's rows. Not thread-safe: one caller at a time."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._schema = schema
        self._slow = SlowParser(schema)
        self._fast: tuple[int, FastParser] | None = None

    def parse(self, body: bytes, limits: Limits) -> ParsedRows:
        """The good rows as columns and the reasons of the others. Raises BodyError, TooManyRowsError."""
        return self._fast_for(limits.string_length).parse(body, limits) or self._slow.parse(body, limits)

    def _fast_for(self, string_length: int) -> FastParser:
        if self._fast is None or self._fast[0] != string_length:
            self._fast = (string_length, FastParser(self._schema, string_length))
        return self._fast[1]
