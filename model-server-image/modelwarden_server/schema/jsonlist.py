"""The elements of a JSON list, one at a time, as lenient about numbers as Python's own writer.

Must not know what the elements mean. Bare NaN, Infinity and -Infinity are numbers here, because clients
in Python send them. Of a key that comes twice in one object the last counts, as in every parser in use.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from modelwarden_server.schema.parsed import BodyError

_BLANKS = re.compile(r"[ \t\n\r]*")
_WANTED = "send a JSON list of inferences"


def elements(body: bytes) -> Iterator[Any]:
    """The elements of the list in `body`. Raises BodyError, with the position, for anything but a list."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BodyError(f"the body is not UTF-8: bad byte at position {error.start}") from None
    place = _blanks(text, 0)
    if place == len(text):
        raise BodyError(f"the body is empty: {_WANTED}")
    if text[place] not in "[{":
        raise BodyError(f"the body is not JSON: {_WANTED}")
    if text[place] == "{":
        raise BodyError(f"the body must be a list: {_WANTED}, also for a single one")
    yield from _after_bracket(text, place + 1)


def _after_bracket(text: str, place: int) -> Iterator[Any]:
    scan = json.JSONDecoder().raw_decode
    place = _blanks(text, place)
    closed = text[place : place + 1] == "]"
    while not closed:
        try:
            element, place = scan(text, place)
        except json.JSONDecodeError as error:
            raise BodyError(f"the body is not JSON: {error.msg} at character {error.pos}") from None
        except (ValueError, RecursionError):
            raise BodyError(
                f"the body cannot be read: too long a number or too deep a nesting at character {place}"
            ) from None
        yield element
        place = _blanks(text, place)
        mark = text[place : place + 1]
        closed = mark == "]"
        if not closed:
            if mark != ",":
                raise BodyError(f"the body is not JSON: ',' or ']' expected at character {place}")
            place = _blanks(text, place + 1)
    place = _blanks(text, place + 1)
    if place != len(text):
        raise BodyError(f"the body is not JSON: something follows the list at character {place}")


def _blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return place if found is None else found.end()
