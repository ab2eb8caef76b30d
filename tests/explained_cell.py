"""A whole cell of processes for a model of gradient boosted trees on five numbers, whose user project is
uploaded as a person would.
"""

import contextlib
import io
import itertools
import json
import math
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import census_like
import httpx
import numpy as np
import pyarrow as pa
from cell_processes import ProcessCell
from deltalake import DeltaTable
from sklearn.ensemble import GradientBoostingClassifier
from store_process import ANSWER_SECONDS, KEY, START_SECONDS, free_port, wait_for

from modelwarden.resources.cell import (
    CellIdentity,
    CellSettings,
    EnrichmentSettings,
    ExplainabilitySettings,
    ServerSettings,
)
from modelwarden_server.explain.background import Background, summarised

INPUTS = ("x0", "x1", "x2", "x3", "x4")
ATTRIBUTES = [
    *(census_like.attribute(name, "FLOAT", "PIPELINE_INPUT", position=i) for i, name in enumerate(INPUTS)),
    census_like.ATTRIBUTES[-2],
    census_like.ATTRIBUTES[-1],
]
ENTRYPOINT = """
import os, pickle
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.pkl"), "rb") as file:
    model = pickle.load(file)

def predict(x):
    return model.predict_proba(x)[:, 1]
"""


@cache
def boosted(seed: int = 7) -> GradientBoostingClassifier:
    """The fitted model."""
    x, y = rows(2000, seed), None
    chance = 1 / (1 + np.exp(-(2 * x[:, 0] + x[:, 1] * x[:, 2] - x[:, 3])))
    y = (np.random.default_rng(seed).random(len(x)) < chance).astype(int)
    return GradientBoostingClassifier(n_estimators=60, max_depth=3, random_state=seed).fit(x, y)


def rows(many: int, seed: int) -> np.ndarray:
    """Inputs of so many people."""
    return np.random.default_rng(seed).normal(size=(many, len(INPUTS))).round(4)


def project(entrypoint: str = ENTRYPOINT) -> bytes:
    """user_project.zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("entrypoint.py", entrypoint)
        archive.writestr("model.pkl", pickle.dumps(boosted()))
    return made.getvalue()


def identity() -> CellIdentity:
    return census_like.identity(ATTRIBUTES)


def settings(url: str, **explainability: Any) -> CellSettings:
    """Settings with explanations turned on, whose server is at `url`."""
    given = {"enabled": True, "algorithm": "shap", "samples": 500, "declared": {}} | explainability
    return census_like.settings(attributes=ATTRIBUTES).model_copy(
        update={
            "enrichments": EnrichmentSettings(explainability=ExplainabilitySettings.model_validate(given)),
            "server": ServerSettings(url=url, assets={"explain-project": "upload"}),
        }
    )


class ExplainedCell(ProcessCell):
    """A cell of the boosted model."""

    def __init__(self, folder: Path, **explainability: Any) -> None:
        port = free_port()
        chosen = settings(f"http://127.0.0.1:{port}", **explainability)
        super().__init__(folder, identity(), chosen, port)

    def reference(self, many: int = 400, seed: int = 1) -> None:
        """Upload and close a reference with the model's own predictions."""
        x = rows(many, seed)
        table = pa.table({name: x[:, i] for i, name in enumerate(INPUTS)}).append_column(
            "pred", pa.array(boosted().predict_proba(x)[:, 1])
        )
        self.upload_reference(table.append_column("gt", pa.array(np.zeros(many, dtype=np.int64))))

    def upload(self, archive: bytes) -> httpx.Response:
        """Send user_project.zip as the documented client does."""
        files = {"user_project.zip": ("user_project.zip", archive, "application/zip")}
        return self.http.patch(f"{self.model}/enrichments/explainability", files=files)

    def send(self, x: np.ndarray, first: int = 0, name: str = "id-") -> list[str]:
        """Send rows as inferences; their ids."""
        ids = [f"{name}{first + i}" for i in range(len(x))]
        predicted = boosted().predict_proba(x)[:, 1]
        body = [
            {
                "partner_inference_id": one,
                "inference_timestamp": census_like.NOW,
                "inference_data": dict(zip(INPUTS, map(float, row), strict=True)) | {"pred": float(p)},
            }
            for one, row, p in zip(ids, x, predicted, strict=True)
        ]
        answer = self.http.post(self.store.inferences_path, content=json.dumps(body))
        assert answer.status_code == 207, answer.text
        assert answer.json()["counts"]["success"] == len(ids)
        return ids

    def troubles(self) -> str:
        """What every part says of itself, for the message of a test that fails."""
        said = [f"pod {self.code()}", f"explanations {self.told()}"]
        for process in (self.sidecar, self.model_server):
            ended = None if process.process is None else process.process.poll()
            said.append(f"{process.command} {ended}: {process.output()[-2000:]}")
        warned = [line for line in self.store.output().splitlines() if '"info"' not in line]
        return "\n".join([*said, f"store: {warned[-5:]}"])

    def told(self) -> Any:
        """What the store says of explanations."""
        server = self.store.status().server
        return None if server is None else server.explanations

    def explained(self) -> pa.Table:
        """The table of explanations as it lies on the disk."""
        return DeltaTable(self.store.data_folder / "tables" / "explanations").to_pyarrow_table()

    def until_explained(self, many: int, seconds: float = START_SECONDS) -> None:
        """Wait until so many rows have an explanation."""
        wait_for(lambda: (t := self.told()) is not None and t.explained >= many, seconds, every=0.1)

    def what_if(self, x: np.ndarray) -> httpx.Response:
        """Ask why for a row that is nowhere."""
        given = [
            {"attribute_name": name, "attribute_value": float(value)}
            for name, value in zip(INPUTS, x, strict=True)
        ]
        return self.http.post(f"{self.model}/what_if", json={"model_pipeline_input": given})

    def explanation(self, one: str) -> httpx.Response:
        return self.http.get(f"{self.store.inferences_path}/{one}/explanation")

    def plan(self) -> dict[str, Any]:
        return self.http.get("/internal/v1/server").raise_for_status().json()

    @contextlib.contextmanager
    def at_the_pod(self) -> Iterator[None]:
        """What is sent in the block goes to the pod instead of the store."""
        store = self._http
        headers = {"Authorization": KEY}
        with httpx.Client(base_url=self.url, headers=headers, timeout=ANSWER_SECONDS) as self._http:
            try:
                yield
            finally:
                self._http = store

    def summary(self) -> Background:
        """What rows are explained against."""
        x, content_hash = self.background()
        return summarised(x, boosted().predict_proba(x)[:, 1], content_hash)

    def background(self) -> tuple[np.ndarray, str]:
        """The reference's sample that the pod explains against, and its hash."""
        explain = self.plan()["explain"]
        content = self.http.get(f"/internal/v1/server/files/{explain['background']['sha256']}").content
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        x = np.column_stack([table.column(name).to_numpy() for name in INPUTS])
        return x, explain["backgroundHash"]


def explained_cell(folder: Path, **explainability: Any) -> AbstractContextManager[ExplainedCell]:
    """A started cell that does not outlive the block."""
    return ExplainedCell(folder, **explainability).at_work()


def shapley(x: np.ndarray, background: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shapley values for one row by their definition, over all coalitions: of the margin against each
    background row, carried over to the probability for that row, then their mean."""
    inputs, model = len(x), boosted()
    sizes = range(inputs + 1)
    worth = {}
    for coalition in itertools.chain(*(itertools.combinations(range(inputs), size) for size in sizes)):
        mixed = background.copy()
        mixed[:, list(coalition)] = x[list(coalition)]
        worth[coalition] = model.decision_function(mixed)
    values = np.zeros((inputs, len(background)))
    for one, (coalition, margin) in itertools.product(range(inputs), worth.items()):
        if one not in coalition:
            size = len(coalition)
            share = math.factorial(size) * math.factorial(inputs - size - 1) / math.factorial(inputs)
            values[one] += share * (worth[tuple(sorted((*coalition, one)))] - margin)
    everyone, nobody = worth[tuple(range(inputs))], worth[()]
    chance = 1 / (1 + np.exp(-everyone)) - 1 / (1 + np.exp(-nobody))
    return (values * (chance / (everyone - nobody))) @ weights


__all__ = ["KEY", "ExplainedCell", "explained_cell", "project", "rows", "shapley"]
