"""docs/api.md: every example is run as it stands against a real server and answers what the page says; every
route of a cell has one.
"""

import json
import os
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import census_like as census
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from starlette.routing import Route
from store_process import KEY, StoreProcess, running, wait_for

from modelwarden.resources.keys import job_key
from modelwarden_server.apps import furnish
from modelwarden_server.cell import Cell
from modelwarden_server.jobs.command import DONE, run
from modelwarden_server.settings import SettingsHolder

REPO = Path(__file__).parent.parent.parent
PAGE = REPO / "docs" / "api.md"
OTHER_MODEL = "<!-- the model scans -->"
EXAMPLE = re.compile(r"```console\n(.*?)```\n(?:```json\n(.*?)```)?", re.DOTALL)
CURL = re.compile(r"curl (?P<options>[^|]*?)\"?\$URL(?P<path>[^\s\"]*)")
INTERNAL = "/internal/v1/"
SCANS = [
    census.attribute("scan", "IMAGE", "PIPELINE_INPUT"),
    census.attribute("risk", "FLOAT", "PREDICTED_VALUE", attributeLink="ill"),
    census.attribute("ill", "FLOAT", "GROUND_TRUTH", attributeLink="risk"),
]
BATCHES: dict[str, Any] = {"inputType": "IMAGE", "outputType": "REGRESSION", "isBatch": True}
Runner = Callable[["Step"], str]


@dataclass(frozen=True)
class Step:
    """An example: which model it is of, its commands, and what they print, or the JSON that they answer."""

    model: str
    commands: str
    printed: str
    answer: Any


def steps(page: str) -> Iterator[Step]:
    """The examples of the page, in their order. A command goes on in lines that are indented."""
    for found in EXAMPLE.finditer(page):
        shown, answer = found.groups()
        if "$ export URL=" in shown:
            continue
        lines = shown.splitlines(keepends=True)
        commands = "".join(line.removeprefix("$ ") for line in lines if line.startswith(("$ ", "  ")))
        printed = "".join(line for line in lines if not line.startswith(("$ ", "  ")))
        model = "scans" if found.start() > page.index(OTHER_MODEL) else "credit"
        yield Step(model, commands, printed, json.loads(answer) if answer else None)


def applicants(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "city": rng.choice(["Milan", "Naples", "Rome"], rows),
            "risk": rng.integers(0, 100, rows) / 100,
            "defaulted": rng.integers(0, 2, rows),
        }
    )


def lay_out(folder: Path) -> None:
    """The files that the page names."""
    applicants(2000, 1).to_parquet(folder / "training.parquet")
    ids = [f"loan-{n}" for n in range(100, 1100)]
    january = applicants(1000, 2).assign(
        partner_inference_id=ids,
        inference_timestamp=pd.date_range("2026-01-01", periods=1000, freq="40min", tz="UTC"),
    )
    january.drop(columns="defaulted").to_parquet(folder / "january.parquet")
    outcomes = january[["partner_inference_id", "defaulted"]].assign(
        ground_truth_timestamp=pd.Timestamp("2026-05-01", tz="UTC")
    )
    outcomes.to_parquet(folder / "outcomes.parquet")
    scans = [
        {"partner_inference_id": f"scan-{n}", "inference_timestamp": f"2026-01-31T12:00:0{n}Z",
         "scan": f"left/{n}.png", "risk": 0.5}
        for n in (1, 2)
    ]  # fmt: skip
    (folder / "scans.json").write_text(json.dumps(scans))
    with zipfile.ZipFile(folder / "project.zip", "w") as project:
        project.writestr("entrypoint.py", "def predict(x):\n    return x[:, 0]\n")
    with zipfile.ZipFile(folder / "scans.zip", "w") as packed:
        for n in (1, 2):
            drawn = BytesIO()
            Image.new("RGB", (640, 480), (n, 0, 0)).save(drawn, "PNG")
            packed.writestr(f"left/{n}.png", drawn.getvalue())


@contextmanager
def served(folder: Path) -> Iterator[Runner]:
    """Both models' servers, and who runs a step of the page against them."""
    readme = (REPO / "README.md").read_text().split("\n## A model of your own\n")[1]
    credit: Any = yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])["spec"]["attributes"]
    stores = {
        "credit": StoreProcess(
            folder / "credit",
            identity=census.identity(credit),
            settings=census.settings(attributes=credit),
        ),
        "scans": StoreProcess(
            folder / "scans",
            identity=census.identity(SCANS, **BATCHES),
            settings=census.settings(attributes=SCANS, **BATCHES),
        ),
    }
    lay_out(folder)
    with ExitStack() as opened:
        for store in stores.values():
            opened.enter_context(running(store))

        def run_step(step: Step) -> str:
            store = stores[step.model]
            environ = os.environ | {"URL": store.url, "KEY": KEY, "ID": store.identity.model_id}
            command = ["bash", "-eu", "-o", "pipefail", "-c", step.commands]
            done = subprocess.run(
                command, env=environ, cwd=folder, capture_output=True, text=True, timeout=250, check=False
            )
            assert done.returncode == 0, (step.commands, done.stderr)
            profile(store)
            # A page shows what is so when all is done, its reader took a breath between two commands.
            wait_for(lambda: settled(store))
            return done.stdout

        yield run_step


def profile(store: StoreProcess) -> None:
    """What the operator's Job does once a dataset is closed."""
    for dataset in store.status().reference:
        if dataset.state == "closed" and dataset.content_hash is not None:
            given = ["profile", "--store", store.url, "--dataset", dataset.name]
            key = {"MODELWARDEN_JOB_KEY": job_key(KEY, "profile", dataset.content_hash)}
            assert run([*given, "--content-hash", dataset.content_hash], key) == DONE
            wait_for(lambda name=dataset.name: store.status().active_reference == name)


def settled(store: StoreProcess) -> bool:
    """Whether all rows and labels that were acknowledged are in their tables."""
    rows = store.status().rows
    return rows.waiting == 0 and rows.labels.waiting == 0


def differences(expected: Any, got: Any, at: str = "answer") -> list[str]:
    """Where the answer is not what the page says; "…" stands for anything, as a key for any others."""
    if expected == "…":
        return []
    if isinstance(expected, dict) and isinstance(got, dict):
        wanted = expected.keys() - {"…"}
        odd = (wanted ^ got.keys()) if "…" not in expected else wanted - got.keys()
        inner = [differences(expected[k], got[k], f"{at}.{k}") for k in wanted & got.keys()]
        return [f"{at}: {sorted(odd)} on one side only"] * bool(odd) + [d for found in inner for d in found]
    if isinstance(expected, list) and isinstance(got, list):
        if expected and expected[-1] == "…":
            expected, got = expected[:-1], got[: len(expected) - 1]
        if len(expected) != len(got):
            return [f"{at}: {len(got)} entries, not {len(expected)}"]
        pairs = zip(expected, got, strict=True)
        return [d for n, (one, other) in enumerate(pairs) for d in differences(one, other, f"{at}[{n}]")]
    if isinstance(expected, float) and isinstance(got, float):
        return [] if got == pytest.approx(expected, rel=1e-6) else [f"{at}: {got}, not {expected}"]
    return [] if type(expected) is type(got) and expected == got else [f"{at}: {got!r}, not {expected!r}"]


def test_every_example_answers_what_the_page_says(tmp_path: Path) -> None:
    with served(tmp_path) as answer_of:
        wrong = []
        for step in steps(PAGE.read_text()):
            got = answer_of(step)
            if step.answer is None:
                wrong += [] if got == step.printed else [f"{step.commands}\n{got}"]
            else:
                wrong += [f"{step.commands}{found}" for found in differences(step.answer, json.loads(got))]
    assert wrong == []


def method_of(options: str, rest: str) -> str:
    found = re.search(r"-X (\w+)", options)
    return found[1] if found else "POST" if re.search(r"(^|\s)-[dF]\b", options + rest) else "GET"


def test_every_route_of_a_cell_has_an_example(tmp_path: Path) -> None:
    settings = SettingsHolder(census.settings(), KEY)
    cell = Cell(census.identity(), settings, tmp_path)
    furnish(cell)
    routes = [route for room in cell.rooms for route in room.routes() if isinstance(route, Route)]
    page = PAGE.read_text()
    asked = []
    for step in steps(page):
        for found in CURL.finditer(step.commands):
            path = found["path"].partition("?")[0].replace("$ID", cell.identity.model_id)
            asked.append((method_of(found["options"], step.commands[found.end() :]), path))
    missing = []
    for route in routes:
        if route.path.startswith(INTERNAL):
            assert f"`{INTERNAL}{route.path.split('/')[3]}/…`" in page
            continue
        methods = route.methods or set()
        if not any(method in methods and route.path_regex.match(path) for method, path in asked):
            missing.append((sorted(methods), route.path))
    assert missing == []


@pytest.mark.parametrize(
    ("expected", "got", "agree"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": "…"}, {"a": [1]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "…": "…"}, {"a": 1, "b": 2}, True),
        ({"a": 1, "…": "…"}, {"b": 2}, False),
        ([1, "…"], [1, 2, 3], True),
        ([1, "…"], [2], False),
        ([1], [1, 2], False),
        (1, 1.0, False),
        (0.1, 0.10000000001, True),
        (0.1, 0.2, False),
        (1, True, False),
    ],
)
def test_the_comparison_tells_what_differs(expected: Any, got: Any, agree: bool) -> None:
    assert (differences(expected, got) == []) is agree
