"""A scripted cell on loopback: answers what the test tells it to, and remembers what it was asked.

The real cell is met in tests/e2e; here it must misbehave on command, which a real one does not do.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MODEL_ID = "6f1f5a0e-0000-5000-8000-000000000001"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


Script = Callable[[Asked, int], Answer]


def always(answer: Answer) -> Script:
    """The same answer to whatever is asked."""

    def script(asked: Asked, n: int) -> Answer:
        return answer

    return script


def taken(asked: Asked, n: int = 0) -> Answer:
    """What a healthy cell says to rows of inferences."""
    rows = asked.json()
    results = [{"message": "success", "status": 200} for _ in rows]
    return Answer(
        207, {"counts": {"success": len(rows), "failure": 0, "total": len(rows)}, "results": results}
    )


class ScriptedCell:
    """`script(asked, n)` answers the n-th request (from 0); `asked` holds them all."""

    def __init__(self) -> None:
        self.script: Script = taken
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cell = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = urlsplit(self.path)
                asked = Asked(self.command, parts.path, parse_qs(parts.query), dict(self.headers), body)
                with cell._lock:
                    number = len(cell.asked)
                    cell.asked.append(asked)
                answer = cell.script(asked, number)
                if answer.hang_up:
                    self.close_connection = True
                    return
                content = json.dumps(answer.body).encode() if answer.body is not None else b""
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.handle_any()

            def do_POST(self) -> None:
                self.handle_any()

            def do_PATCH(self) -> None:
                self.handle_any()

            def log_message(self, *args: object) -> None:
                """Quiet: the test prints what it needs."""

        return Handler
