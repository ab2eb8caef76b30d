"""The answer to a request with rows: one result a row, in request order, and their counts. Status 207."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from modelwarden_server.web import json_answer


class Result(msgspec.Struct, frozen=True, gc=False):
    """One row's answer. `status` is an integer: the documented client counts anything else as a failure."""

    message: str
    status: int


SUCCESS = Result("success", 200)


def row_answer(total: int, refused: Mapping[int, str], conflicts: Mapping[int, str]) -> Response:
    """207: rows in `refused` got 400, those in `conflicts` 409, all others succeeded."""
    results = [SUCCESS] * total
    for place, reason in refused.items():
        results[place] = Result(reason, 400)
    for place, reason in conflicts.items():
        results[place] = Result(reason, 409)
    failures = len(refused) + len(conflicts)
    counts = {"success": total - failures, "failure": failures, "total": total}
    return json_answer({"counts": counts, "results": results}, 207)
