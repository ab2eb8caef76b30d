"""What can go wrong in a flow, as sentences: the client's data, or the user's code.

Must not hold values of a request, but for the user's own message.
"""

from __future__ import annotations

import traceback

MOST_WORDS = 500


class FlowError(Exception):
    """A flow could not be loaded or run. The message is for whoever sent the data.

    `fault`: "data" if another request may succeed where this one cannot, "code" if the flow is at fault.
    """

    def __init__(self, sentence: str, fault: str = "code") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fault = fault


def told(what: str, error: BaseException, folder: str) -> FlowError:
    """The user's exception in a sentence, with the last line of his own files that it came through."""
    words = " ".join(str(error).split())[:MOST_WORDS]
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(folder.rstrip("/") + "/"):
            where = f" ({frame.filename[len(folder.rstrip('/')) + 1 :]}, line {frame.lineno})"
    return FlowError(f"{what} failed: {type(error).__name__}{': ' + words if words else ''}{where}")
