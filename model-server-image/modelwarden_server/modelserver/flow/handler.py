"""What a child loads to serve a flow: `run` answers requests, `predict` is what is explained, `export` and
`encode` read its last model for that.

Settings: {"stages": [FlowStage as JSON], "fields": [place of each input], "outputs": [place of each
prediction]}.
A flow that fails answers with its sentence: a request that fails is no fault of the child.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from modelwarden_server.modelserver.exporter import Exporter

from .faults import FlowError
from .run import load_flow

if TYPE_CHECKING:
    Answer = Callable[[Mapping[str, Any], Sequence[Any]], tuple[dict[str, Any], list[Any]]]


def load(settings: Mapping[str, Any], project: str) -> dict[str, Answer]:
    """Load the flow whose files are in `project`. Raises FlowError with a sentence.

    `run`: see Flow.answer; instead of raising it answers {"error": sentence, "fault": "data" or "code"}.
    `predict`: one array of rows in, one of outputs back; raises FlowError. `export`, `encode`: as exporter.py
    gives them, of the model among the stages that predict asks.
    """
    flow = load_flow(project, settings["stages"], settings.get("fields") or (), settings.get("outputs") or ())

    def run(header: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
        try:
            head, found = flow.answer(header, buffers)
        except FlowError as error:
            return {"error": error.sentence, "fault": error.fault}, []
        return head, list(found)

    def predict(_header: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
        return {}, [flow.predict(buffers[0])]

    holder = SimpleNamespace(models=[stage.model for stage in flow.stages])
    exporter = Exporter(lambda: [holder], flow.predict)

    def export(_header: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
        return exporter.export(buffers[0] if buffers else None)

    def encode(_header: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
        return {}, [exporter.encode(buffers[0])]

    return {"run": run, "predict": predict, "export": export, "encode": encode}
