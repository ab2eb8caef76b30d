"""/healthz, /readyz and /metrics, answered from a thread of their own.

From a thread, so that a blocked event loop yields a 503 that says so instead of a time-out. The event loop
beats; the thread looks at the last beat. Must not touch anything of the loop but plain values.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEAT = 0.5
_log = logging.getLogger("modelwarden.probes")


@dataclass
class Health:
    """What the loop says of itself; written by the loop, read by the probe thread."""

    stuck_after: float
    wait_limit: float = 900.0
    monotonic: Callable[[], float] = time.monotonic
    ready: bool = False
    waiting_for: str = "start"
    last_beat: float = field(init=False)
    wait: float = 0.0

    def __post_init__(self) -> None:
        self.last_beat = self.monotonic()

    async def beat(self, oldest_wait: Callable[[], float]) -> None:
        """Run for ever in the loop that is watched; `oldest_wait`: seconds the oldest change has waited."""
        while True:
            self.last_beat, self.wait = self.monotonic(), oldest_wait()
            await asyncio.sleep(BEAT)

    def illness(self) -> str | None:
        """Why the process should be restarted, or None."""
        silent = self.monotonic() - self.last_beat
        if silent > self.stuck_after:
            return f"the event loop has stood still for {silent:.0f} s"
        if self.wait > self.wait_limit:
            return f"a change has waited {self.wait:.0f} s to be looked at"
        return None

    def answer(self, path: str) -> tuple[int, str] | None:
        """Status and body for a probe path; None for a path that is none."""
        if path == "/healthz":
            illness = self.illness()
            return (503, illness) if illness else (200, "ok")
        if path == "/readyz":
            return (200, "ok") if self.ready else (503, f"waiting for {self.waiting_for}")
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class's
        """A prober that hung up is no news; the base class would print a stack for each."""
        _log.debug("a probe was not answered to the end", exc_info=True)


class ProbeServer:
    """Serves until `close()`; `port` is the real one when 0 was asked for."""

    def __init__(self, host: str, port: int, health: Health, metrics: Callable[[], bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._send(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
                    return
                status, body = health.answer(path) or (404, "only /healthz, /readyz and /metrics are here")
                self._send(status, f"{body}\n".encode(), "text/plain; charset=utf-8")

            def _send(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Probes come every few seconds: silence."""

        self._server = _Server((host, port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
