"""User code in this process, for tests of what is made of it: a function, in whatever state it is told to be.

The real child is met in tests/faults; here it must be in every state on command.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from census_like import attribute, identity

from modelwarden.resources.server import CodePlan, ExplainPlan, ServerFile
from modelwarden_server.modelserver.spec import ChildSpec, ChildStatus, ChildUnavailableError
from modelwarden_server.podwire import CodeToRun, Wanted

INPUTS = ("a", "b", "c")
WEIGHTS = np.array([1.0, -2.0, 0.5])
IDENTITY = identity(
    [
        *(attribute(name, "FLOAT", "PIPELINE_INPUT", position=i) for i, name in enumerate(INPUTS)),
        attribute("y", "FLOAT", "PREDICTED_VALUE", attributeLink="t", position=0),
        attribute("t", "FLOAT", "GROUND_TRUTH", attributeLink="y", position=0),
    ],
    outputType="REGRESSION",
)


def linear(x: np.ndarray) -> np.ndarray:
    """What the model says of rows."""
    return x @ WEIGHTS + x[:, 0] * x[:, 1]


@dataclass
class ScriptedChild:
    """In place of a Child."""

    spec: ChildSpec
    function: Callable[[np.ndarray], np.ndarray] = linear
    status: ChildStatus = field(default_factory=lambda: ChildStatus("Loading"))
    started: bool = False
    stopped: bool = False
    asked: list[int] = field(default_factory=list)
    export_refusal: str = "nothing to read here"

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True

    def wait(self, seconds: float) -> ChildStatus:
        return self.status

    def predict(self, x: np.ndarray, seconds: float | None = None) -> np.ndarray:
        if self.status.state != "Ready":
            raise ChildUnavailableError("not there")
        self.asked.append(len(x))
        return self.function(x)

    def export(self, x: np.ndarray) -> None:
        return None

    def be(self, state: Any, message: str = "") -> None:
        """Be in that state from now on."""
        self.status = ChildStatus(state, message, python="3.11.0")


def sample(folder: Path, many: int = 60, shift: float = 0.0) -> Path:
    """A reference's sample with the model's predictions, these off by `shift`."""
    x = np.random.default_rng(3).normal(size=(many, len(INPUTS)))
    table = pa.table({name: x[:, i] for i, name in enumerate(INPUTS)} | {"y": linear(x) + shift})
    path = folder / f"sample-{many}-{shift}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def explain_plan(role: str = "explain", background: str = "b1", **more: Any) -> ExplainPlan:
    file = ServerFile(sha256="0" * 64, bytes=1, name="background.arrow")
    given = {"background": file, "background_hash": background, "algorithm": "shap", "samples": 200}
    return ExplainPlan.model_validate(given | {"code": role} | more)


def wanted(
    folder: Path, *codes: tuple[str, str], explain: ExplainPlan | None = None, at: Path | None = None
) -> Wanted:
    """What is to run: (role, code hash) each."""
    file = ServerFile(sha256="0" * 64, bytes=1, name="user_project.zip")
    runs = []
    for role, code_hash in codes:
        path = "entrypoint" if role == "explain" else None
        plan = {"role": role, "code_hash": code_hash, "files": file, "import_path": path}
        runs.append(CodeToRun(plan=CodePlan.model_validate(plan), files=str(folder / code_hash)))
    name = "+".join(code for _, code in codes) + ("" if explain is None else explain.background_hash)
    return Wanted(
        plan_hash=name,
        identity=IDENTITY,
        codes=tuple(runs),
        explain=explain,
        background=None if at is None else str(at),
    )
