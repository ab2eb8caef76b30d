"""The user's files in a store that is killed, that has little memory, whose disk is full: what was answered
is there, what was there stays, and rows are taken in all the while.
"""

import hashlib
import io
import os
import random
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import census_like
import httpx
import pytest
from small_disk import MIB, small_disk
from store_process import START_SECONDS, StoreProcess, running, wait_for

from modelwarden.resources.cell import CellSettings
from modelwarden.resources.server import ServerPlan

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 40 if LONG else 3
LARGE = 192 * MIB
PREDICT = "def predict(x):\n    return x\n"


def settings() -> CellSettings:
    told = census_like.settings().model_dump(mode="json", by_alias=True)
    told["enrichments"]["explainability"] |= {"enabled": True, "declared": {}}
    told["server"] = {"assets": {"explain-project": "upload"}}
    return CellSettings.model_validate(told)


def project(number: int, size: int = 4 * MIB, requirements: str = "") -> bytes:
    """A project of that number, of about that size: the same one has the same bytes."""
    content = io.BytesIO()
    files = {
        "entrypoint.py": f"{PREDICT}# {number}\n",
        "weights.bin": random.Random(number).randbytes(size),
        "requirements.txt": requirements,
    }
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


def upload(store: StoreProcess, content: bytes) -> httpx.Response:
    path = f"/api/v3/models/{store.identity.model_id}/enrichments/explainability"
    with store.client() as client:
        return client.patch(path, files=[("user_project.zip", ("x", content))])


def upload_slowly(
    store: StoreProcess, content: bytes, half: threading.Event, go_on: threading.Event
) -> httpx.Response:
    """Send the first half, say so, and the other when told to."""

    def form() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="user_project.zip"; filename="x"\r\n\r\n'
        yield content[: len(content) // 2]
        half.set()
        go_on.wait()
        yield content[len(content) // 2 :]
        yield b"\r\n--b--\r\n"

    path = f"/api/v3/models/{store.identity.model_id}/enrichments/explainability"
    with store.client() as client:
        return client.patch(path, content=form(), headers={"Content-Type": "multipart/form-data; boundary=b"})


def plan(store: StoreProcess) -> ServerPlan:
    with store.client() as client:
        return ServerPlan.model_validate(client.get("/internal/v1/server").raise_for_status().json())


def kept(store: StoreProcess) -> set[str]:
    return {path.name for path in (store.data_folder / "server" / "files").iterdir()}


def test_an_answered_upload_is_in_use_after_a_kill_and_nothing_is_left_over(tmp_path: Path) -> None:
    chance = random.Random(20261122)
    projects = {hashlib.sha256(c).hexdigest(): n for n, c in enumerate(map(project, range(6)))}
    answered: list[int] = []
    with running(StoreProcess(tmp_path, settings=settings())) as store:
        for _ in range(KILLS):
            ending = threading.Event()

            def send(ending: threading.Event = ending) -> None:
                while not ending.is_set():
                    number = ((answered[-1] if answered else 0) + 1) % len(projects)
                    try:
                        if upload(store, project(number)).status_code == 202:
                            answered.append(number)
                    except httpx.TransportError:
                        return

            sender = threading.Thread(target=send)
            before = len(answered)
            sender.start()
            wait_for(lambda before=before: len(answered) > before)
            time.sleep(chance.uniform(0, 0.1))  # not a wait for something: the moment of the kill
            store.kill()
            ending.set()
            sender.join()
            store.start()
            (code,) = plan(store).codes
            in_use = projects[code.files.sha256]
            # The last that was answered, or the one that was on its way.
            assert in_use in (answered[-1], (answered[-1] + 1) % len(projects))
            assert kept(store) == {code.files.sha256}
            assert list((store.data_folder / "uploads").iterdir()) == []


def pieces(size: int) -> Iterator[bytes]:
    yield b"\x1f\x8b"
    for _ in range(size // MIB):
        yield bytes(MIB)


def test_a_large_environment_passes_through_little_memory(tmp_path: Path) -> None:
    with running(StoreProcess(tmp_path, settings=settings())) as store, store.client() as client:
        assert upload(store, project(1, 10, "torch\n")).status_code == 202
        name = client.get("/status").json()["server"]["environments"][0]["hash"]
        before = store.peak_memory()
        told = {"X-Modelwarden-Python": "3.11.7", "X-Modelwarden-Packages": "9"}
        path = f"/internal/v1/environments/{name}"
        answer = client.put(path, content=pieces(LARGE), headers=told)
        assert answer.status_code == 200, answer.text
        assert answer.json()["bytes"] == LARGE + 2
        seen = 0
        with client.stream("GET", f"/internal/v1/server/files/{answer.json()['sha256']}") as response:
            for piece in response.iter_raw():
                seen += len(piece)
        assert seen == LARGE + 2
        grown = store.peak_memory() - before
        print(f"{LARGE >> 20} MiB in and out, memory grew by {grown >> 20} MiB")
        assert grown < 48 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk")
def test_a_full_disk_refuses_a_file_and_keeps_what_is_in_use(tmp_path: Path) -> None:
    with small_disk(tmp_path, 96) as disk:
        store = StoreProcess(tmp_path / "store", settings=settings(), data=disk / "data")
        with running(store):
            assert upload(store, project(1)).status_code == 202
            before = plan(store).codes
            answer = upload(store, project(2, 80 * MIB))
            assert answer.status_code == 503
            assert "could not be stored" in answer.json()["error"]
            assert plan(store).codes == before
            assert len(kept(store)) == 1
            assert upload(store, project(3)).status_code == 202
            subprocess.run(["sync"], check=True)


def test_rows_are_taken_in_while_a_large_file_arrives(tmp_path: Path) -> None:
    """An upload takes no lock of the writer: acknowledged rows go on being acknowledged meanwhile."""
    with running(StoreProcess(tmp_path, settings=settings())) as store, store.client() as client:
        half, go_on, ended = threading.Event(), threading.Event(), threading.Event()
        answers: list[httpx.Response] = []

        def send() -> None:
            try:
                answers.append(upload_slowly(store, project(1, 64 * MIB), half, go_on))
            finally:
                half.set()
                ended.set()

        sender = threading.Thread(target=send)
        sender.start()
        rows, slowest = 0, 0.0
        try:
            assert half.wait(START_SECONDS)
            while not ended.is_set():
                begun = time.monotonic()
                body = census_like.body(census_like.row(f"r{rows}"))
                assert client.post(store.inferences_path, content=body).status_code == 207
                slowest = max(slowest, time.monotonic() - begun)
                rows += 1
                if rows > 5:  # with half of the file inside; the others while the rest is taken in
                    go_on.set()
        finally:
            go_on.set()
            sender.join()
        assert answers[0].status_code == 202
        print(f"{rows} rows one by one meanwhile, the slowest in {slowest * 1000:.0f} ms")
        assert rows > 5
