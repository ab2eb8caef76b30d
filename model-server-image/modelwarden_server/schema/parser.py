"""From a request's body to columns: the fast path if every row is good, else the slow one.

The one entrance to parsing JSON for every door. Must not know HTTP.
"""

from collections.abc import Iterable
from typing import Any

from modelwarden_server.schema.compiled import CompiledSchema
from modelwarden_server.schema.fast import FastLabelParser, FastParser
from modelwarden_server.schema.flat import Nesting
from modelwarden_server.schema.parsed import Limits, ParsedLabels, ParsedRows
from modelwarden_server.schema.slow import SlowLabelParser, SlowParser


class Parser:
    """Parser of one model's inferences. Not thread-safe: one caller at a time."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._schema = schema
        self._slow = SlowParser(schema)
        self._nesting = Nesting(schema)
        self._fast: tuple[int, FastParser] | None = None

    def parse(self, body: bytes, limits: Limits) -> ParsedRows:
        """The good rows as columns and the reasons of the others. Raises BodyError, TooManyRowsError."""
        return self._fast_for(limits.string_length).parse(body, limits) or self._slow.parse(body, limits)

    def parse_elements(self, decoded: Iterable[Any], limits: Limits) -> ParsedRows:
        """Rows of a file, decoded already, nested or flat. Raises TooManyRowsError and what the iterable
        raises.
        """
        return self._slow.parse_elements(map(self._nesting.row, decoded), limits)

    def _fast_for(self, string_length: int) -> FastParser:
        if self._fast is None or self._fast[0] != string_length:
            self._fast = (string_length, FastParser(self._schema, string_length))
        return self._fast[1]


class LabelParser:
    """Parser of labels that come without their inferences. Not thread-safe: one caller at a time."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._schema = schema
        self._slow = SlowLabelParser(schema)
        self._nesting = Nesting(schema)
        self._fast: tuple[int, FastLabelParser] | None = None

    def parse(self, body: bytes, limits: Limits) -> ParsedLabels:
        """The good labels as columns and the reasons of the others. Raises BodyError, TooManyRowsError."""
        return self._fast_for(limits.string_length).parse(body, limits) or self._slow.parse(body, limits)

    def parse_elements(self, decoded: Iterable[Any], limits: Limits) -> ParsedLabels:
        """Labels of a file, decoded already, nested or flat. Raises TooManyRowsError and what the iterable
        raises.
        """
        return self._slow.parse_elements(map(self._nesting.label, decoded), limits)

    def _fast_for(self, string_length: int) -> FastLabelParser:
        if self._fast is None or self._fast[0] != string_length:
            self._fast = (string_length, FastLabelParser(self._schema, string_length))
        return self._fast[1]
