"""An error answer of another process is read whatever stands in it."""

import httpx
import pytest

from modelwarden_server.refused import MOST_SECONDS, retry_after, sentence_of


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"error": "the disk is full"}', "the disk is full"),
        (b'{"error": {"why": 1}}', "{'why': 1}"),
        (b'{"error": "' + b"x" * 5000 + b'"}', "x" * 500),
        (b'{"detail": "Not Found"}', "the store answers 503"),
        (b'["error"]', "the store answers 503"),
        (b"<html>Bad Gateway</html>", "the store answers 503"),
        (b'{"error": "cut', "the store answers 503"),
        (b"\xff\xfe", "the store answers 503"),
        (b"", "the store answers 503"),
    ],
)
def test_the_sentence_is_told_on_and_without_one_the_status(content: bytes, sentence: str) -> None:
    assert sentence_of(httpx.Response(503, content=content), "the store") == sentence


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        (" 30 ", 30),
        ("0", 0),
        ("9" * 400, MOST_SECONDS),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_only_a_number_of_seconds_is_waited_for_and_never_long(text: str, seconds: int | None) -> None:
    headers = {b"Retry-After": text.encode()}
    assert retry_after(httpx.Response(503, headers=headers)) == seconds


def test_an_answer_that_says_nothing_of_waiting_is_not_waited_for() -> None:
    assert retry_after(httpx.Response(503)) is None
