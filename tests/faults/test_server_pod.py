"""A model explained by a real server pod: user code absent, loading, broken, slow; every part of it killed.

Store, sidecar and model server are processes of their own. What must hold whatever happens there: rows are
taken in as if nothing were, and each is explained once.
"""

import contextlib
import os
import signal
import statistics
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from explained_cell import ENTRYPOINT, INPUTS, ExplainedCell, explained_cell, project, rows, shapley
from store_process import START_SECONDS, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
ROUNDS = 20 if LONG else 1
SLOW = ENTRYPOINT.replace("    return", "    import time; time.sleep(60)\n    return")
TROUBLES = {
    "broken": ("raise RuntimeError('not on this disk')", "Failed", "RuntimeError: not on this disk"),
    "loading": ("import time\ntime.sleep(600)", "Loading", "is being loaded"),
    "slow": (SLOW, "Loading", "checking predict"),
}
UNTOUCHED_SECONDS = 1.0
"""Longest median of an answer to rows while the server pod has a hard time; alone it is some milliseconds."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExplainedCell]:
    """A cell whose model is explained."""
    with explained_cell(tmp_path_factory.mktemp("cell")) as cell:
        cell.reference()
        assert cell.upload(project()).status_code == 202
        assert cell.until_code("Ready")["path"] == "trees"
        yield cell


@pytest.fixture
def cell(started: ExplainedCell) -> ExplainedCell:
    """The cell with every part of it at work, whichever test before had one of them killed."""
    for process in (started.store, started.sidecar, started.model_server):
        if process.process is None or process.process.poll() is not None:
            process.start()
    until_at_work(started)
    return started


def until_at_work(cell: ExplainedCell) -> None:
    """Wait until the user's code answers through the whole pod: what the store was told of a pod may be what
    was so before a part of it was killed.
    """
    try:
        wait_for(lambda: cell.what_if(rows(1, 1)[0]).status_code == 200, START_SECONDS, every=0.2)
        cell.until_code("Ready")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{cell.troubles()}") from None


class Sender:
    """Numbers for ids, and how long the store took."""

    def __init__(self, cell: ExplainedCell, name: str) -> None:
        self.cell, self.name, self.sent = cell, name, 0
        self.seconds: list[float] = []

    def send(self, many: int = 20) -> None:
        begun = time.perf_counter()
        x = rows(many, zlib.crc32(f"{self.name}{self.sent}".encode()))
        self.cell.send(x, self.sent, self.name)
        self.sent += many
        self.seconds.append(time.perf_counter() - begun)

    def explained(self) -> int:
        """How many of its rows have a row in the table; fails when one has two, or one that says why not."""
        table = self.cell.explained().select(["partner_inference_id", "path", "failure"])
        found = [row for row in table.to_pylist() if row["partner_inference_id"].startswith(self.name)]
        assert {row["failure"] for row in found} <= {None}
        assert {row["path"] for row in found} <= {"trees"}
        assert len({row["partner_inference_id"] for row in found}) == len(found), "a row was explained twice"
        return len(found)

    def was_untouched(self) -> None:
        median = statistics.median(self.seconds)
        print(f"half of {len(self.seconds)} requests answered within {median * 1000:.0f} ms")
        assert median < UNTOUCHED_SECONDS

    def until_explained(self, seconds: float = START_SECONDS) -> None:
        try:
            wait_for(lambda: self.explained() == self.sent, seconds, every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.cell.troubles()}") from None


def test_stored_rows_are_explained_from_the_trees_as_the_definition_says(cell: ExplainedCell) -> None:
    x = rows(200, 11)
    ids = cell.send(x, 0, "defined")
    chosen = cell.summary()
    wait_for(lambda: cell.explanation(ids[-1]).status_code == 200)
    for place in (0, 17, 199):
        told = cell.explanation(ids[place]).json()
        values = [score["explanation_value"] for score in told["explanation"][0]["importance_scores"]]
        base = told["expected_value"][0]["expected_value"]
        assert told["path"] == "trees"
        assert told["units"] == "probability"
        assert base + sum(values) == pytest.approx(told["prediction"][0]["value"], abs=1e-9)
        assert values == pytest.approx(shapley(x[place], chosen.rows, chosen.weights), abs=1e-9)


def test_a_question_for_a_row_that_is_nowhere_is_answered_as_the_definition_says(
    cell: ExplainedCell,
) -> None:
    x = np.array([1.5, -0.5, 0.25, -1.0, 3.0])
    answer = cell.what_if(x)
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()["explanation"]
    values = {score["attribute_name"]: score["explanation_value"] for score in told["importance_scores"]}
    chosen = cell.summary()
    expected = shapley(x, chosen.rows, chosen.weights)
    assert values == pytest.approx(dict(zip(INPUTS, expected, strict=True)), abs=1e-9)


@pytest.mark.parametrize("victim", ["ingest", "model-server", "child", *(["store"] if LONG else [])])
def test_each_row_is_explained_once_whoever_is_killed(cell: ExplainedCell, victim: str) -> None:
    sender = Sender(cell, f"killed-{victim}-")
    random = np.random.default_rng(len(victim))
    for _ in range(ROUNDS):
        for _ in range(5):
            sender.send(100)
        time.sleep(random.uniform(0, 0.5))  # the moment of the kill, not a wait for anything
        kill(cell, victim)
        sender.send(100)
    sender.until_explained()
    assert sender.explained() == sender.sent
    until_at_work(cell)
    sender.was_untouched()


def kill(cell: ExplainedCell, victim: str) -> None:
    """kill -9, and the start that a kubelet would make."""
    if victim == "store":
        cell.store.kill()
        cell.store.start()
    elif victim == "child":
        for pid in wait_for(cell.model_server.children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        process = cell.sidecar if victim == "ingest" else cell.model_server
        process.kill()
        process.start()


def test_the_sidecar_stays_far_below_its_256_mib(cell: ExplainedCell) -> None:
    sender = Sender(cell, "memory-")
    for _ in range(10):
        sender.send(200)
    sender.until_explained()
    assert cell.sidecar.memory("VmHWM") < 128 << 20


def test_the_model_servers_children_end_with_it(cell: ExplainedCell) -> None:
    children = wait_for(cell.model_server.children)
    assert cell.model_server.stop() == 0
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    cell.model_server.start()
    until_at_work(cell)


@pytest.mark.parametrize("trouble", ["broken", "loading", "slow"] if LONG else ["broken"])
def test_rows_are_taken_in_while_the_users_code_is_in_trouble_and_explained_once_it_is_mended(
    cell: ExplainedCell, trouble: str
) -> None:
    code, state, said = TROUBLES[trouble]
    sender = Sender(cell, f"{trouble}-")
    assert cell.upload(project(code)).status_code == 202
    try:
        wait_for(
            lambda: (t := cell.code()).get("state") == state and said in t["message"],
            START_SECONDS,
            every=0.1,
        )
        for _ in range(20):
            sender.send(20)
        sender.was_untouched()
        assert sender.explained() == 0
        busy = cell.what_if(rows(1, 3)[0])
        assert busy.status_code == 503
        assert int(busy.headers["Retry-After"]) > 0
    finally:
        assert cell.upload(project()).status_code == 202
    cell.until_code("Ready")
    sender.until_explained()


def test_rows_are_taken_in_at_a_pod_as_at_the_store(cell: ExplainedCell) -> None:
    sender = Sender(cell, "at-the-pod-")
    with cell.at_the_pod():
        sender.send(50)
        sender.send(50)
    sender.until_explained()
    assert cell.store.status().rows.stored >= sender.sent


def test_nothing_is_lost_between_threads_that_send_while_it_explains(cell: ExplainedCell) -> None:
    senders = [Sender(cell, f"thread-{n}-") for n in range(4)]
    threads = [threading.Thread(target=lambda s=s: [s.send(50) for _ in range(5)]) for s in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sender in senders:
        sender.until_explained()
