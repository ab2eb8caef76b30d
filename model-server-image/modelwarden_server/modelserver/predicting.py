"""`POST /predict` of the model server: a frame in, the flow's answer as a frame out.

Statuses: 200; 400 the data; 500 the flow failed; 503 with Retry-After it is not there; 504 it took too long.
Errors are {"error": sentence}. Must not know who asks, nor log what is in a request.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from modelwarden.resources.attributes import Stage
from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden.resources.server import CodePlan, ServePlan
from modelwarden_server.modelserver.supervisor import (
    Child,
    ChildError,
    ChildTimeoutError,
    ChildUnavailableError,
)
from modelwarden_server.predictwire import FRAME, FrameError, frame, unframe
from modelwarden_server.web import error_answer

FLOW_HANDLER: Final = "modelwarden_server.modelserver.flow.handler"
"""The `handler` of a ChildSpec that serves a flow."""
_INPUTS = (Stage.PIPELINE_INPUT, Stage.PREDICT_FUNCTION_INPUT)


def flow_settings(plan: CodePlan, serve: ServePlan | None, identity: CellIdentity) -> dict[str, Any]:
    """The `settings` of a ChildSpec that serves the flow of `plan`."""
    mapped_in = {} if serve is None else {one.attribute: one.field for one in serve.inputs}
    mapped_out = {} if serve is None else {one.attribute: one.field for one in serve.outputs}
    inputs = _by_position(identity, _INPUTS)
    outputs = [name for name in _by_position(identity, (Stage.PREDICTED_VALUE,)) if name in mapped_out]
    return {
        "stages": [stage.model_dump(mode="json", by_alias=True, exclude_none=True) for stage in plan.flow],
        "fields": [mapped_in.get(name, name) for name in inputs] if mapped_in else [],
        "outputs": [mapped_out[name] for name in outputs],
    }


async def predict(child: Child, content: bytes, seconds: float) -> Response:
    """The answer to one request: `content` is its frame, `seconds` the longest it may take."""
    try:
        header, buffers = unframe(content)
        if not buffers:
            raise FrameError("the frame holds no data")
    except FrameError as error:
        return error_answer(400, str(error))
    try:
        answer, found = await asyncio.to_thread(
            child.call, "run", header, [bytes(one) for one in buffers], seconds
        )
    except ChildTimeoutError:
        return error_answer(504, f"the flow took longer than {seconds:g} s: it was ended")
    except ChildUnavailableError as error:
        return error_answer(503, str(error), max(1, round(error.retry_seconds)))
    except ChildError as error:
        return error_answer(500, str(error))
    return _answered(answer, found)


def _answered(answer: Mapping[str, Any], found: list[Any]) -> Response:
    """What the child said is not believed further than its form."""
    sentence, fault = answer.get("error"), answer.get("fault")
    if isinstance(sentence, str):
        return error_answer(400 if fault == "data" else 500, sentence)
    count, took = answer.get("count"), answer.get("seconds")
    if not isinstance(count, int) or not isinstance(took, float) or len(found) != 1:
        return error_answer(500, "the flow's process gave no answer that can be read")
    content = b"".join(frame({"count": count, "seconds": took}, [bytes(found[0])]))
    return Response(content, media_type=FRAME)


def _by_position(identity: CellIdentity, stages: tuple[Stage, ...]) -> list[str]:
    def order(attribute: ResolvedAttribute) -> int:
        return attribute.position or 0

    chosen = [one for one in identity.attributes if one.stage in stages and not one.implicit]
    return [one.name for one in sorted(chosen, key=order)]
