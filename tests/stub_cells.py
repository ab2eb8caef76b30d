"""Cells for tests in which no node runs: an HTTP server that speaks /status and the operator's door.

It checks keys as a real store does. Which cells there are and what they say is set by the test; what the
operator asked for is kept for it to look at. One server stands for all cells: /<namespace>/<name>/….
"""

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class StubCell:
    """One cell. `report` is merged over a healthy, empty one; `datasets` as the store would list them."""

    key: str
    model_id: str
    report: dict[str, Any] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    declared: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reads: int = 0

    def status(self) -> dict[str, Any]:
        ready = {"modelId": self.model_id, "version": "stub", "ready": True, "phase": "Ready"}
        return ready | {"reference": list(self.datasets.values())} | self.report

    def declare(self, name: str, wish: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.declared.append((name, wish))
        entry = self.datasets.setdefault(
            name, {"name": name, "state": "open", "records": 0, "createdAt": datetime.now(UTC).isoformat()}
        )
        source = wish.get("sourceHash")
        if entry["state"] == "open" and entry.get("sourceHash") != source:
            entry |= {"sourceHash": source, "loaded": False}
        complete = source is None or entry.get("loaded")
        if wish["closed"] and entry["state"] == "open" and complete:
            if wish["totalRecordCount"] not in (None, entry["records"]):
                text = f"totalRecordCount is {wish['totalRecordCount']}, the dataset has {entry['records']}"
                return 409, {"error": text}
            entry |= {"state": "closed", "contentHash": "ab" * 32, "closedAt": datetime.now(UTC).isoformat()}
        return 200, entry


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections wait here while a busy machine does something else; the base class keeps 5.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """An operator that is killed hangs up in the middle of a request."""


class StubCells:
    """A context manager. `cells[(namespace, name)] = StubCell(…)`; nobody answers for any other."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], StubCell] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(None)

            def do_PUT(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                _, namespace, name, *rest = self.path.split("/")
                cell = stub.cells.get((namespace, name))
                status, answer = self._of(cell, rest, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _of(self, cell: StubCell | None, rest: list[str], body: Any) -> tuple[int, Any]:
                if cell is None:
                    return 503, {"error": "there is no such cell"}
                if self.headers.get("Authorization") != f"Bearer {cell.key}":
                    return 401, {"error": "unauthorized"}
                if rest == ["status"]:
                    cell.reads += 1
                    return 200, cell.status()
                if rest[:3] == ["internal", "v1", "datasets"] and body is not None:
                    return cell.declare(rest[3], body)
                return 404, {"error": "no such route"}

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Silence."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url_template(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{{namespace}}/{{name}}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
