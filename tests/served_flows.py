"""A whole cell that predicts, on loopback: store, ingest sidecar and model server, each a process."""

import contextlib
import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import census_like
import flow_files
import httpx
from cell_processes import ProcessCell
from store_process import ANSWER_SECONDS, KEY, START_SECONDS, free_port, wait_for

from modelwarden.client.conduit.cell import predicting, upload
from modelwarden.resources.cell import (
    CellIdentity,
    CellSettings,
    EnrichmentSettings,
    ExplainabilitySettings,
    ServerSettings,
    ServingSettings,
)

NUMBERS = [
    *(census_like.attribute(name, "FLOAT", "PIPELINE_INPUT", position=i) for i, name in enumerate("abc")),
    census_like.ATTRIBUTES[-2],
    census_like.ATTRIBUTES[-1],
]
MONITORED = census_like.identity(NUMBERS)
BARE = MONITORED.model_copy(update={"attributes": (), "input_type": None, "output_type": None})


def zipped(folder: Path) -> bytes:
    """All files of a folder as a zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(folder))
    return made.getvalue()


def image_bundle(folder: Path) -> bytes:
    """The documented image example as it is uploaded."""
    folder.mkdir()
    (folder / "functions.py").write_text(flow_files.IMAGE_FUNCTIONS)
    spec = importlib.util.spec_from_file_location("functions", folder / "functions.py")
    assert spec is not None
    assert spec.loader is not None
    functions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(functions)
    import sys

    sys.modules["functions"] = functions  # the model is pickled by the name that it has in the child
    try:
        flow_files.image_model(folder, functions)
    finally:
        del sys.modules["functions"]
    return zipped(folder)


def classifier_bundle(folder: Path, functions: str = "") -> bytes:
    """A classifier of three numbers, and functions beside it."""
    folder.mkdir(exist_ok=True)
    flow_files.save(folder, "model.pkl", flow_files.classifier())
    (folder / "functions.py").write_text(functions)
    return zipped(folder)


class ServedCell(ProcessCell):
    """A cell of one stage, and a client of its pod."""

    def __init__(self, folder: Path, identity: CellIdentity, **stage: Any) -> None:
        self.port = free_port()
        super().__init__(folder, identity, self.settings(**stage), self.port)
        self.path = f"/v1/{identity.namespace}/{identity.name}/predict"
        headers = {"Authorization": KEY}
        self.pod = httpx.Client(base_url=self.url, headers=headers, timeout=ANSWER_SECONDS)

    def settings(self, webhooks: bool = False, explained: bool = False, **stage: Any) -> CellSettings:
        """Settings of a model that is served by one stage, and perhaps explained by it."""
        given = {"modelType": "SKLEARN_CLASSIFIER", "file": "model.pkl"} | stage
        serving = ServingSettings.model_validate({"flow": [given], "webhooks": webhooks})
        server = ServerSettings(url=f"http://127.0.0.1:{self.port}", assets={"serve-files": "upload"})
        reasons = ExplainabilitySettings.model_validate({"enabled": explained, "algorithm": "shap"})
        return census_like.settings(attributes=NUMBERS).model_copy(
            update={
                "serving": serving,
                "server": server,
                "enrichments": EnrichmentSettings(explainability=reasons),
            }
        )

    def stop(self) -> None:
        super().stop()
        self.pod.close()

    def upload(self, bundle: bytes) -> None:
        zipped = self.folder / "sent.zip"
        zipped.write_bytes(bundle)
        upload(self.store.url, KEY, zipped)

    def deployed(self, bundle: bytes, seconds: float = START_SECONDS) -> list[str]:
        """Wait as `deploy` does until a pod predicts with the bundle, or its flow has failed: why."""
        failures: list[str] = []
        sha256 = hashlib.sha256(bundle).hexdigest()
        wait_for(
            lambda: predicting(self.store.url, KEY, sha256, failures.append) is None or failures,
            seconds,
            every=0.2,
        )
        return failures

    def kept(self, **query: str) -> list[dict[str, Any]]:
        """Predictions that the store has, the newest first."""
        return self.http.get(f"{self.model}/predictions", params=query).raise_for_status().json()["data"]


@contextlib.contextmanager
def served_flow(
    folder: Path, bundle: bytes, identity: CellIdentity = MONITORED, **stage: Any
) -> Iterator[ServedCell]:
    """A cell whose flow is loaded; it does not outlive the block."""
    with ServedCell(folder, identity, **stage).at_work() as cell:
        cell.upload(bundle)
        yield cell
