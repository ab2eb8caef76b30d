"""Clients that send rows to a store: as fast as they are answered, or at a pace. Loopback only.

Every answer is checked; rows count when they were acknowledged.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.loopback import Connection, LoopbackStore
from benchmarks.wide_model import Bodies
from benchmarks.workers import BenchError

_NOT_NOW = (429, 503)


@dataclass
class Sent:
    """What came of a load: rows acknowledged, requests told to wait, seconds of each request."""

    rows: int = 0
    put_off: int = 0
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, rows: int, seconds: float) -> None:
        """A request of so many rows was answered."""
        with self.lock:
            self.rows += rows
            self.latencies.append(seconds)

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the requests was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def post(connection: Connection, path: str, body: bytes, rows: int) -> bool:
    """Send a request of good rows; False if it is to be sent again. Raises BenchError for any refusal."""
    status, answer = connection.ask("POST", path, body)
    if status in _NOT_NOW:
        return False
    if status != 207 or not answer.startswith(b'{"counts":{"success":%d,"failure":0,' % rows):
        raise BenchError(f"rows were not taken: {status} {answer[:300].decode(errors='replace')}")
    return True


def saturate(store: LoopbackStore, label: str, rows: int, connections: int, seconds: float) -> Sent:
    """Requests of `rows` rows on each connection, the next as soon as one is answered."""
    sent, end = Sent(), time.perf_counter() + seconds

    def client(number: int) -> None:
        bodies = Bodies(f"{label}-{number}")
        with store.connect() as connection:
            while not sent.latencies or time.perf_counter() < end:
                body = bodies.of(rows)
                started = time.perf_counter()
                while not post(connection, store.inferences, body, rows):
                    sent.put_off += 1
                    time.sleep(0.05)
                sent.note(rows, time.perf_counter() - started)

    started = time.perf_counter()
    _together([lambda n=n: client(n) for n in range(connections)])  # type: ignore[misc]
    sent.seconds = time.perf_counter() - started
    return sent


@dataclass
class Pace:
    """Requests of `rows` rows, `requests` a second, for so many seconds, whatever the store does."""

    rows: int
    requests: float
    seconds: float
    connections: int = 4


def paced(store: LoopbackStore, label: str, pace: Pace, stop: threading.Event | None = None) -> Sent:
    """Send at a pace. A request's seconds begin when it was due: waiting for a free connection is in them."""
    sent, due = Sent(), queue.Queue[float | None]()
    ending = stop or threading.Event()
    bodies, turn = Bodies(label), threading.Lock()

    def clock() -> None:
        started = time.perf_counter()
        for number in range(int(pace.requests * pace.seconds)):
            moment = started + number / pace.requests
            if ending.wait(max(0.0, moment - time.perf_counter())):
                break
            due.put(moment)
        for _ in range(pace.connections):
            due.put(None)

    def client() -> None:
        with store.connect() as connection:
            while (moment := due.get()) is not None:
                with turn:
                    body = bodies.of(pace.rows)
                while not post(connection, store.inferences, body, pace.rows):
                    sent.put_off += 1
                    time.sleep(0.05)
                sent.note(pace.rows, time.perf_counter() - moment)

    started = time.perf_counter()
    _together([clock, *[client] * pace.connections])
    sent.seconds = time.perf_counter() - started
    return sent


def _together(works: list[Callable[[], None]]) -> None:
    """Run them in threads to their end; raises what the first of them raised."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
