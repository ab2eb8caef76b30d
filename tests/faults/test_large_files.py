"""Files much larger than the store's memory, and kill -9 while files and batches are on their way."""

import contextlib
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import census_like as census
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_doors import flat, parquet
from row_senders import rows_in_table
from store_process import ANSWER_SECONDS, StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 40 if LONG else 4
FLOATS = 100
GROUP_BYTES = (1 << 30) if LONG else (320 << 20)
GROUPS = 4 if LONG else 1
LIMIT = 512 << 20
WIDE = [
    *(census.attribute(f"x{i}", "FLOAT", "PIPELINE_INPUT") for i in range(FLOATS)),
    *(a for a in census.ATTRIBUTES if a["name"] in ("pred", "gt")),
]


def write_large(path: Path) -> int:
    """A parquet file of GROUPS row groups, each of GROUP_BYTES that do not pack; its rows."""
    rows = GROUP_BYTES // (8 * FLOATS)
    chance = np.random.default_rng(4)
    schema = pa.schema(
        [
            ("partner_inference_id", pa.string()),
            ("inference_timestamp", pa.timestamp("us", "UTC")),
            *((f"x{i}", pa.float64()) for i in range(FLOATS)),
            ("pred", pa.float64()),
        ]
    )
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for group in range(GROUPS):
            ids = pa.array([f"{group}-{i}" for i in range(rows)])
            times = pa.array(np.full(rows, 1_790_000_000_000_000), pa.timestamp("us", "UTC"))
            numbers = [pa.array(chance.random(rows)) for _ in range(FLOATS + 1)]
            table = pa.table([ids, times, *numbers], schema=schema)
            writer.write_table(table, row_group_size=rows)
            del numbers, table, ids, times
    return rows * GROUPS


def form_of(path: Path) -> Iterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="inference_data"; filename="x"\r\n\r\n'
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
    yield b"\r\n--b--\r\n"


class Memory:
    """The most memory of its own that a process had: what cannot be taken from it, unlike pages of files.

    Where the machine lets us, the process is put under the limit of a real container's memory.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.own = 0
        self.group = _limited(process.pid)
        self._status = Path(f"/proc/{process.pid}/status")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            with contextlib.suppress(OSError):
                found = re.search(r"RssAnon:\s+(\d+) kB", self._status.read_text())
                self.own = max(self.own, int(found.group(1)) << 10 if found else 0)


def _limited(pid: int) -> Path | None:
    """A cgroup of LIMIT bytes with the process in it; None if none can be made here."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"modelwarden-{pid}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(LIMIT))
            (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            group.rmdir()
            continue
        return group
    return None


@contextlib.contextmanager
def watched(store: StoreProcess) -> Iterator[Memory]:
    assert store.process is not None
    with Memory(store.process) as memory:
        try:
            yield memory
        finally:
            store.kill()
            if (group := memory.group) is not None:
                wait_for(lambda: not (group / "cgroup.procs").read_text())
                group.rmdir()


@pytest.mark.timeout(3600)
def test_a_file_much_larger_than_the_store_passes_through_it(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rows = write_large(path)
    assert pq.read_metadata(path).row_group(0).total_byte_size >= GROUP_BYTES
    limits = {"limits": {"maxFileSize": "6Gi"}}
    store = StoreProcess(
        tmp_path / "store", census.identity(WIDE), census.settings(attributes=WIDE, ingest=limits)
    )
    with running(store), store.client() as client, watched(store) as memory:
        started = time.monotonic()
        answer = client.post(
            f"{store.inferences_path}/file",
            content=form_of(path),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
            timeout=1800,
        )
        taken = time.monotonic() - started
        assert answer.status_code == 207, answer.text
        assert answer.json()["counts"] == {"success": rows, "failure": 0, "total": rows}
        wait_for(lambda: store.status().rows.stored == rows, 600)
        size = path.stat().st_size
        print(
            f"\n{size >> 20} MiB, {rows} rows of {FLOATS} floats, row groups of {GROUP_BYTES >> 20} MiB:"
            f" answered after {taken:.1f} s, in the table after {time.monotonic() - started:.1f} s, at most"
            f" {memory.own >> 20} MiB of its own, {'under' if memory.group else 'without'} a limit"
        )
        assert memory.own < LIMIT
        until_none_is_staged(store)
        assert list((store.data_folder / "uploads").iterdir()) == []
        again = client.post(
            f"{store.inferences_path}/file",
            files=[("inference_data", ("x", parquet(pq.ParquetFile(path).read_row_group(0).slice(0, 1000))))],
        )
        assert again.json()["counts"]["success"] == 1000, "the same ids with the same data"
        assert store.status().rows.stored == rows
        assert memory.own < LIMIT


def until_none_is_staged(store: StoreProcess) -> None:
    """A file that is in the table goes when the log has been cut, which comes after its rows are counted."""
    wait_for(lambda: list((store.data_folder / "staged").iterdir()) == [])


def send(store: StoreProcess, content: bytes, **fields: str) -> tuple[int, int] | None:
    """Rows taken and refused; None if there was no proper answer: then the same may be sent again."""
    files = [(name, (None, value)) for name, value in fields.items()]
    try:
        with store.client() as client:
            answer = client.post(
                f"{store.inferences_path}/file", files=[*files, ("inference_data", ("x", content))]
            )
    except httpx.TransportError:
        return None
    if answer.status_code == 503:
        return None
    assert answer.status_code == 207, answer.text
    counts = answer.json()["counts"]
    return counts["success"], counts["failure"]


@pytest.mark.timeout(1800)
def test_files_and_closed_batches_survive_kills_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    identity = census.identity(isBatch=True)
    sent = closed = 0
    with running(StoreProcess(tmp_path, identity, census.settings(isBatch=True))) as store:
        model = store.inferences_path.removesuffix("/inferences")
        for kill in range(KILLS):
            rows = 6000 + kill
            content = parquet(flat(rows, f"k{kill}-", batch_id=pa.array([f"b{kill}"] * rows)))
            process = store.process
            assert process is not None
            killer = threading.Timer(chance.uniform(0.0, 0.3), process.kill)
            killer.start()
            first = send(store, content)
            promised = close(store, f"{model}/batches/b{kill}", rows) if first else None
            killer.join()
            process.wait(ANSWER_SECONDS)
            store.start()
            if promised == 200:
                closed += 1
                late = parquet(flat(1, "late", batch_id=pa.array([f"b{kill}"])))
                assert send(store, late) == (0, 1), "a promise to close holds"
            assert send(store, content) == (rows, 0), "taken before or now, always a success"
            assert close(store, f"{model}/batches/b{kill}", rows) == 200
            sent += rows
        wait_for(lambda: store.status().rows.waiting == 0)
        status = store.status()
        assert (status.rows.acknowledged, status.rows.stored) == (sent, sent)
        assert status.batches is not None
        assert (status.batches.open, status.batches.closed) == (0, KILLS)
        table = rows_in_table(store.data_folder / "tables" / "inferences")
        names = table.column("partner_inference_id").to_pylist()
        assert len(names) == len(set(names)) == sent
        until_none_is_staged(store)
        assert list((store.data_folder / "uploads").iterdir()) == []


def close(store: StoreProcess, path: str, rows: int) -> int | None:
    try:
        with store.client() as client:
            return client.patch(path, json={"status": "uploaded", "total_record_count": rows}).status_code
    except httpx.TransportError:
        return None
