"""What an error answer of another process of ours says: `{"error": sentence}`, perhaps with Retry-After.

The other process may be of another release, or cut off in the middle of a word: nothing here raises. Must not
decide what is done about it.
"""

from typing import Final

import httpx

MOST_SENTENCE: Final = 500
MOST_SECONDS: Final = 600
"""Nobody of ours asks for more; a longer wait is a mistake on the way."""


def sentence_of(answer: httpx.Response, who: str, most: int = MOST_SENTENCE) -> str:
    """Its sentence, at most so many characters of it; without one, that `who` answers its status."""
    try:
        return str(answer.json()["error"])[:most]
    except (ValueError, KeyError, TypeError):
        return f"{who} answers {answer.status_code}"


def retry_after(answer: httpx.Response) -> int | None:
    """Whole seconds that it asks to wait for, at most MOST_SECONDS; None if it does not say so in digits."""
    text = answer.headers.get("Retry-After", "").strip()
    return min(MOST_SECONDS, int(text[:9])) if text.isascii() and text.isdecimal() else None
