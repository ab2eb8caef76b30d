"""The doors of those who explain: `/internal/v1/explanations/tasks`. Rows out, answers in, Arrow both ways.

    POST …/tasks?holder=     200 rows, the piece's number in X-Modelwarden-Task; 204 and Retry-After: none;
                             with fresh=true whoever had this name before is gone
    PUT  …/tasks/{n}         200 taken; 409 late, nobody waits for it; 400 not in the agreed form
    PUT  …/tasks/{n}/failure {"message", "again"}: 200; 409 late

What is not in the agreed form counts as a failure; `again`: the next one may have more luck. An answer
is taken before it is durable: what is lost in a crash is given out again. Must not touch files.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden_server.door.bodies import read_body
from modelwarden_server.explained import SECONDS
from modelwarden_server.explanations.answer import MOST_FAILURE, AnswerError, Names, read_answer
from modelwarden_server.explanations.pictures import Pictures
from modelwarden_server.explanations.tasks import LEASE_SECONDS, TaskBoard
from modelwarden_server.innerwire import ARROW_STREAM, TASK, TASKS
from modelwarden_server.web import Refusal, check_cell_key, json_answer

_IDLE_SECONDS: Final = 2
_MOST_ANSWER: Final = 96 << 20
_MOST_REASON: Final = 64 << 10
_LATE: Final = "nobody waits for this piece any more: somebody else was asked, or it is done"
_MARGIN: Final = 0.8
"""Of the time that a piece has: after that the model server may as well give up."""


class _Failure(msgspec.Struct):
    message: str = ""
    again: bool = False


@dataclass
class TaskDoors:
    """`board` refuses (503) as long as there is none."""

    names: Names
    board: Callable[[], TaskBoard]
    pictures: Pictures = field(default_factory=Pictures)

    def routes(self) -> list[Route]:
        """The routes of these doors."""
        return [
            Route(TASKS, self.lease, methods=["POST"]),
            Route(f"{TASKS}/{{number:int}}", self.finish, methods=["PUT"]),
            Route(f"{TASKS}/{{number:int}}/failure", self.fail, methods=["PUT"]),
        ]

    async def lease(self, request: Request) -> Response:
        """A piece of work."""
        check_cell_key(request)
        holder = request.query_params.get("holder", "")
        if not 1 <= len(holder) <= 253:
            raise Refusal(400, "holder: name the pod, with 1 to 253 characters")
        board = self.board()
        if request.query_params.get("fresh") == "true":
            board.lost(holder)
        task = board.lease(holder)
        if task is None:
            return Response(status_code=204, headers={"Retry-After": str(_IDLE_SECONDS)})
        meta = {SECONDS: str(LEASE_SECONDS * _MARGIN).encode()}
        content = await asyncio.to_thread(lambda: stream_of(self.pictures.filled(task.rows), meta))
        return Response(content, headers={TASK: str(task.number)}, media_type=ARROW_STREAM)

    async def finish(self, request: Request) -> Response:
        """An answer to a piece."""
        check_cell_key(request)
        board, number = self.board(), request.path_params["number"]
        content = await read_body(request, _MOST_ANSWER)
        task = board.open(number)
        if task is None:
            board.count_late(await asyncio.to_thread(_rows_in, content))
            raise Refusal(409, _LATE)
        try:
            answer = await asyncio.to_thread(read_answer, content, task.rows, self.names, _MOST_ANSWER)
        except AnswerError as error:
            board.fail(number, str(error), again=False)
            raise Refusal(400, str(error)) from None
        if not board.finish(number, answer):
            raise Refusal(409, _LATE)
        return json_answer({"taken": answer.rows.num_rows})

    async def fail(self, request: Request) -> Response:
        """A piece that brought nothing."""
        check_cell_key(request)
        board, number = self.board(), request.path_params["number"]
        try:
            told = msgspec.json.decode(await read_body(request, _MOST_REASON), type=_Failure)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refusal(400, f'the body must be {{"message": text, "again": boolean}}: {error}') from None
        message = told.message[:MOST_FAILURE] or "the model server gave no reason"
        if not board.fail(number, message, again=told.again):
            raise Refusal(409, _LATE)
        return json_answer({"taken": 0})


def stream_of(rows: pa.RecordBatch, meta: dict[bytes, bytes]) -> bytes:
    """Rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    schema = rows.schema.with_metadata(meta)
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(rows.replace_schema_metadata(meta))
    return bytes(sink.getvalue())


def _rows_in(content: bytes) -> int:
    try:
        with pa.ipc.open_stream(content) as reader:
            return sum(batch.num_rows for batch in reader)
    except (pa.ArrowException, OSError, EOFError):
        return 0
