"""Where a reference Job reads its files: folders that are mounted, and a web server that misbehaves."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest

from modelwarden.resources.sources import Source
from modelwarden_server.jobs.sources import (
    SourceAwayError,
    SourceError,
    Surroundings,
    check_format,
    files_of,
)
from modelwarden_server.jobs.store_client import Patience

CONTENT = b"PAR1" + bytes(3000)
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def one_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server here shows none, and to read all that are trusted takes longer than the rest."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    (tmp_path / "trusted.pem").write_text(first + end)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    for name in ("mount", "work"):
        (tmp_path / name).mkdir()
    patience = Patience(attempts=3, sleep=lambda _: None)
    return Surroundings(tmp_path / "work", tmp_path / "mount", patience=patience)


def claim(path: str) -> Source:
    return Source.model_validate({"persistentVolumeClaim": {"claimName": "mine", "path": path}})


def test_a_folder_is_read_in_the_order_of_names_without_marks(around: Surroundings) -> None:
    for name in ("b.parquet", "a/2.parquet", "a/1.parquet", "_SUCCESS", ".hidden", "_delta_log/0.json"):
        (around.mount / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (around.mount / "data" / name).write_bytes(CONTENT)
    found = [file.relative_to(around.mount).as_posix() for file in files_of(claim("/data"), around)]
    assert found == ["data/a/1.parquet", "data/a/2.parquet", "data/b.parquet"]
    assert [f.name for f in files_of(claim("data/b.parquet"), around)] == ["b.parquet"]


def test_a_path_that_leads_out_of_the_volume_is_refused(around: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(CONTENT)
    (around.mount / "data").mkdir()
    (around.mount / "data" / "link").symlink_to(tmp_path / "key")
    for path in ("../key", "data", "data/link"):
        with pytest.raises(SourceError, match="leads out"):
            list(files_of(claim(path), around))


@pytest.mark.parametrize(("path", "told"), [("nothing", "there is no"), ("empty", "holds no files")])
def test_what_is_not_there_is_told(around: Surroundings, path: str, told: str) -> None:
    (around.mount / "empty").mkdir()
    with pytest.raises(SourceError, match=told):
        list(files_of(claim(path), around))


def test_a_config_map_s_key_is_a_file(around: Surroundings) -> None:
    # As a kubelet lays it down.
    (around.mount / "..data").mkdir()
    (around.mount / "..data" / "x.json").write_bytes(b"[]")
    (around.mount / "x.json").symlink_to("..data/x.json")
    source = Source.model_validate({"configMap": {"name": "small", "key": "x.json"}})
    (file,) = files_of(source, around)
    assert file.read_bytes() == b"[]"


def test_a_file_is_what_the_spec_says(around: Surroundings) -> None:
    file = around.mount / "x"
    for content, good in ((b"PAR1...", "parquet"), (b" \n[{}]", "json"), (b"{}\n{}", "json")):
        file.write_bytes(content)
        check_format(file, good)
        with pytest.raises(SourceError, match=f"is {good}"):
            check_format(file, "json" if good == "parquet" else "parquet")
    file.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(SourceError, match="neither"):
        check_format(file, "parquet")


class _Web(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.partition("?")[0].strip("/")
        if name in ("sometimes", "never"):
            status = 200 if name == "sometimes" and len(self.asked) > 2 else 503
        else:
            status = {"found": 302, "round": 302, "gone": 404}.get(name, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/file" if name == "found" else "/round")
        body = CONTENT if status == 200 else b""
        if name == "short":
            body, length = CONTENT[:100], len(CONTENT)
        else:
            length = len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Web", (_Web,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def at(url: str, sha: str = SHA) -> Source:
    return Source.model_validate({"http": {"url": url, "sha256": sha}})


def test_a_file_on_the_web_is_checked_against_its_hash(around: Surroundings, web: Any) -> None:
    url, asked = web
    for name in ("file", "found", "sometimes"):
        asked.clear()
        (file,) = files_of(at(f"{url}/{name}"), around)
        assert file.read_bytes() == CONTENT
    with pytest.raises(SourceError, match=SHA):
        list(files_of(at(f"{url}/file?secret=1", "0" * 64), around))


@pytest.mark.parametrize("name", ["never", "short"])
def test_a_server_that_fails_is_asked_again_and_then_left(around: Surroundings, web: Any, name: str) -> None:
    url, asked = web
    with pytest.raises(SourceAwayError) as told:
        list(files_of(at(f"{url}/{name}?token=hidden"), around))
    assert len(asked) == 3
    assert "hidden" not in str(told.value)


def test_a_server_that_refuses_is_not_asked_again(around: Surroundings, web: Any) -> None:
    url, asked = web
    with pytest.raises(SourceError, match="404"):
        list(files_of(at(f"{url}/gone"), around))
    assert len(asked) == 1
    with pytest.raises(SourceError, match="redirects"):
        list(files_of(at(f"{url}/round"), around))


def test_a_file_that_is_too_large_is_left_in_the_middle(around: Surroundings, web: Any) -> None:
    small = replace(around, most_bytes=1000)
    with pytest.raises(SourceError, match="1000 bytes"):
        list(files_of(at(f"{web[0]}/file"), small))
    (around.mount / "x").write_bytes(CONTENT)
    with pytest.raises(SourceError, match="1000 bytes"):
        list(files_of(claim("x"), small))
