"""A flow in a plain child process, for people who try theirs before they deploy it: frames in, frames out.

    python -m modelwarden_server.modelserver.flow FOLDER        (stages in FOLDER/flow.json)

First a frame {"ready": true} or {"error"}; then one for each frame it is given. No isolation: it is the
user's own code on his own machine. Must not be what a cluster runs.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from modelwarden_server.predictwire import frame, unframe

from .faults import FlowError
from .run import load_flow


def main(folder: str) -> int:
    """Serve until the other end closes."""
    # What the user's code prints must not come between frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer

    def answer(header: dict[str, Any], buffers: list[bytes]) -> None:
        content = b"".join(frame(header, buffers))
        answers.write(len(content).to_bytes(8, "big") + content)
        answers.flush()

    folder = os.path.realpath(folder)
    sys.path.insert(0, folder)
    try:
        with open(os.path.join(folder, "flow.json"), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            flow = load_flow(folder, json.load(file))
    except FlowError as error:
        answer({"error": error.sentence, "fault": error.fault}, [])
        return 1
    answer({"ready": True}, [])
    while length := questions.read(8):
        header, buffers = unframe(questions.read(int.from_bytes(length, "big")))
        try:
            answer(*flow.answer(header, buffers))
        except FlowError as error:
            answer({"error": error.sentence, "fault": error.fault}, [])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
