"""What is written down, what comes back, and processes that must not be mistaken for others."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.binaries import go_version
from testbed.cache import built_once, content_key, locked, write_atomically
from testbed.dns import query
from testbed.errors import SetupError
from testbed.image_store import keep_store, take_store
from testbed.packages import install, missing_packages
from testbed.port_forward import local_port
from testbed.processes import Process, folders_below
from testbed.progress import SilentReporter
from testbed.record import Record, all_records, checked_name, read_record

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELWARDEN_CACHE", str(tmp_path))
    return tmp_path


def test_a_record_is_read_back_as_it_was_written() -> None:
    record = Record("demo", 7, "/programs", Process(123, 456), ready=True)
    record.write()
    assert read_record("demo") == record
    assert all_records() == [record]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        '{"name": "demo"}',
        '{"name": "other", "slot": 1, "programs": "", "init": null, "ready": true}',
    ],
)
def test_a_damaged_record_counts_as_none(damaged: str, own_cache: Path) -> None:
    folder = own_cache / "clusters" / "demo"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(damaged)
    assert read_record("demo") is None


@pytest.mark.parametrize("name", ["", "Demo", "../demo", "a/b", "-demo", "d" * 32])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(SetupError):
        checked_name(name)


def test_a_process_is_known_by_its_start_time_too() -> None:
    this = Process.of(os.getpid())
    assert this is not None
    assert this.alive()
    assert not Process(this.pid, 1).alive()


def test_a_later_process_of_the_same_number_is_not_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        Process(other.pid, 1).kill()
        assert other.poll() is None
        mine = Process.of(other.pid)
        assert mine is not None
        mine.kill()
        assert other.wait(60) == -9


def test_a_process_that_ended_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        process = Process.of(ended.pid)
    assert process is None or not process.alive()


def test_a_group_that_goes_while_it_is_looked_at_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pod/container", "going/container"):
        (tmp_path / name).mkdir(parents=True)
    look = os.scandir

    def looked(folder: Any) -> Any:
        if isinstance(folder, str | Path) and Path(folder).name == "going":
            shutil.rmtree(folder)
        return look(folder)

    monkeypatch.setattr(os, "scandir", looked)
    found = folders_below(tmp_path)
    assert {"pod", "pod/container"} <= {str(each.relative_to(tmp_path)) for each in found}
    assert tmp_path / "going" / "container" not in found


def test_what_is_built_once_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise SetupError("interrupted")

    with pytest.raises(SetupError, match="interrupted"):
        built_once(tmp_path / "thing", fails)
    assert not (tmp_path / "thing").exists()
    built_once(tmp_path / "thing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["whole"]


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    built_once(tmp_path / "thing", lambda folder: (folder / "first").touch())
    built_once(tmp_path / "thing", lambda folder: (folder / "second").touch())
    assert (tmp_path / "thing" / "first").exists()


def _append(path: Path, lock: Path) -> None:
    for _ in range(20):
        with locked(lock):
            count = int(path.read_text())
            time.sleep(0.001)  # gives another process the time to spoil it, were there no lock
            path.write_text(str(count + 1))


def test_a_lock_lets_one_process_in_at_a_time(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(counter, tmp_path / "lock")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert counter.read_text() == "60"


HOLDER = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from testbed.cache import locked
with locked(Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_who_must_wait_for_a_lock_is_told_so(tmp_path: Path) -> None:
    said: list[str] = []
    command = [sys.executable, "-c", HOLDER, str(PROJECT), str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        let_go = other.stdin

        def waiting() -> None:
            said.append("waiting")
            let_go.write(b"\n")
            let_go.flush()

        with locked(tmp_path / "lock", waiting):
            pass
    assert said == ["waiting"]


def test_a_key_changes_with_every_part_and_with_where_they_part(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    keys = {content_key("ab", "c"), content_key("a", "bc"), content_key("abc"), content_key(file)}
    assert len(keys) == 4


def test_a_replaced_file_has_the_mode_it_was_given(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", "text", 0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_question_for_a_name_is_laid_out_as_the_standard_says() -> None:
    expected = "002a 0100 0001 0000 0000 0000 03 617069 07 6578616d706c65 00 0001 0001"
    assert query("api.example", 42) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("said", "port"),
    [("Forwarding from 127.0.0.1:40123 -> 8080\n", 40123), ("error: pod not found", None), ("", None)],
)
def test_the_forwarded_port_is_read_from_kubectls_words(said: str, port: int | None) -> None:
    assert local_port(said) == port


def test_a_record_holds_nothing_that_json_cannot() -> None:
    record = Record("demo", 7, "/programs")
    record.write()
    assert json.loads((record.folder / "record.json").read_text())["init"] is None


def test_programs_that_are_not_there_are_named_by_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runc").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_packages({"runc": "runc", "nft": "nftables", "ip": "iproute2"}) == ["iproute2", "nftables"]


def test_a_machine_without_apt_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="nftables"):
        install(["nftables"], SilentReporter())


def test_a_machine_without_go_is_told_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError) as missing:
        go_version()
    assert "Go toolchain" in str(missing.value)
    assert "\n" not in str(missing.value)


def image_store(folder: Path, size: int) -> Path:
    blobs = folder / "io.containerd.content.v1.content" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / "blob").write_bytes(b"x" * size)
    return folder


@pytest.mark.parametrize(("kept", "ended", "expected"), [(100, 10, 100), (10, 100, 100), (None, 10, 10)])
def test_of_two_image_stores_the_fuller_is_kept(
    own_cache: Path, kept: int | None, ended: int, expected: int
) -> None:
    if kept is not None:
        keep_store(image_store(own_cache / "first", kept))
    keep_store(image_store(own_cache / "second", ended))
    assert take_store(own_cache / "taken")
    assert next((own_cache / "taken").rglob("blob")).stat().st_size == expected
    assert not take_store(own_cache / "again")
