"""From a request's body to columns: a quick path if every row is good, else the slow one.

The quick paths are the compiled parser, where it is installed, and the fast path, which takes more. The one
entrance to parsing JSON for every door. Must not know HTTP.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from modelwarden_server.schema.compiled import CompiledSchema
from modelwarden_server.schema.fast import FastLabelParser, FastParser
from modelwarden_server.schema.flat import Nesting
from modelwarden_server.schema.native import NativeLabelParser, NativeParser, extension_for
from modelwarden_server.schema.parsed import Limits, ParsedLabels, ParsedRows
from modelwarden_server.schema.slow import SlowLabelParser, SlowParser


class Parser:
    """Parser of one model's inferences. Not thread-safe: one caller at a time. `environment` may hold
    MODELWARDEN_NATIVE.
    """

    def __init__(self, schema: CompiledSchema, environment: Mapping[str, str] = os.environ) -> None:
        self._schema = schema
        self._slow = SlowParser(schema)
        self._nesting = Nesting(schema)
        self._package = extension_for(schema, environment)
        self._quick: tuple[int, NativeParser | None, FastParser] | None = None

    def parse(self, body: bytes, limits: Limits) -> ParsedRows:
        """The good rows as columns and the reasons of the others. Raises BodyError, TooManyRowsError."""
        return self.quick(body, limits) or self._slow.parse(body, limits)

    def quick(self, body: bytes, limits: Limits) -> ParsedRows | None:
        """The rows as columns if all of them are good. Raises TooManyRowsError."""
        _, native, fast = self._quick_for(limits.string_length)
        found = native.parse(body, limits) if native else None
        return found or fast.parse(body, limits)

    @property
    def compiled(self) -> bool:
        """Whether bodies of good rows go through the compiled parser."""
        return self._package is not None

    def parse_elements(self, decoded: Iterable[Any], limits: Limits) -> ParsedRows:
        """Rows of a file, decoded already, nested or flat. Raises TooManyRowsError and what the iterable
        raises.
        """
        return self._slow.parse_elements(map(self._nesting.row, decoded), limits)

    def _quick_for(self, length: int) -> tuple[int, NativeParser | None, FastParser]:
        if self._quick is None or self._quick[0] != length:
            native = NativeParser(self._package, self._schema, length) if self._package else None
            self._quick = (length, native, FastParser(self._schema, length))
        return self._quick


class LabelParser:
    """Parser of labels that come without their inferences. As Parser otherwise."""

    def __init__(self, schema: CompiledSchema, environment: Mapping[str, str] = os.environ) -> None:
        self._schema = schema
        self._slow = SlowLabelParser(schema)
        self._nesting = Nesting(schema)
        self._package = extension_for(schema, environment)
        self._quick: tuple[int, NativeLabelParser | None, FastLabelParser] | None = None

    def parse(self, body: bytes, limits: Limits) -> ParsedLabels:
        """The good labels as columns and the reasons of the others. Raises BodyError, TooManyRowsError."""
        return self.quick(body, limits) or self._slow.parse(body, limits)

    def quick(self, body: bytes, limits: Limits) -> ParsedLabels | None:
        """The labels as columns if all of them are good. Raises TooManyRowsError."""
        _, native, fast = self._quick_for(limits.string_length)
        found = native.parse(body, limits) if native else None
        return found or fast.parse(body, limits)

    def parse_elements(self, decoded: Iterable[Any], limits: Limits) -> ParsedLabels:
        """Labels of a file, decoded already, nested or flat. Raises TooManyRowsError and what the iterable
        raises.
        """
        return self._slow.parse_elements(map(self._nesting.label, decoded), limits)

    def _quick_for(self, length: int) -> tuple[int, NativeLabelParser | None, FastLabelParser]:
        if self._quick is None or self._quick[0] != length:
            native = NativeLabelParser(self._package, self._schema, length) if self._package else None
            self._quick = (length, native, FastLabelParser(self._schema, length))
        return self._quick
