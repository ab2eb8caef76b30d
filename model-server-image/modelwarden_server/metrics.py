"""What Prometheus is told of a cell. No row values, no ids, no attribute values in any label.

A registry of its own, so that two cells in one test do not meet. Rooms add their metrics to `registry`.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden_server.store.delta import Commit
from modelwarden_server.store.ledger import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter(
            "modelwarden_ingest_rows",
            "Rows of inferences by what became of them: accepted, repeated, sampled_out, refused, conflict.",
            ["result"],
            registry=self.registry,
        )
        self.labels = Counter(
            "modelwarden_ingest_labels",
            "Labels that came without their inferences, by what became of them: accepted, repeated,"
            " sampled_out, refused.",
            ["result"],
            registry=self.registry,
        )
        self.requests = Histogram(
            "modelwarden_ingest_request_seconds",
            "Seconds from the first byte of a request with rows to its answer, by status.",
            ["status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.commits = Histogram(
            "modelwarden_commit_seconds",
            "Seconds that a durable commit took, by table.",
            ["table"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "modelwarden_ingest_requests_in_flight",
            "Requests with rows being worked on.",
            registry=self.registry,
        )
        for result in ("accepted", "repeated", "sampled_out", "refused", "conflict"):
            self.rows.labels(result)
        for result in ("accepted", "repeated", "sampled_out", "refused"):
            self.labels.labels(result)

    def committed(self, table: str, commit: Commit) -> None:
        """A table has a new version."""
        self.commits.labels(table).observe(commit.seconds)

    def watch(self, totals: Callable[[], Totals | None], log_bytes: Callable[[], int]) -> None:
        """Publish the ledger and the log's size as they are when asked."""
        self.registry.register(_Ledger(totals, log_bytes))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)


def _lag(totals: Totals) -> float | None:
    if totals.newest_arrival is None or totals.newest_event is None:
        return None
    return max(0.0, (totals.newest_arrival - totals.newest_event) / 1e6)


_COUNTERS: tuple[tuple[str, str, Callable[[Totals], int]], ...] = (
    ("modelwarden_rows_acknowledged", "Inferences that are durable.", lambda t: t.acknowledged),
    ("modelwarden_rows_stored", "Inferences in the tables.", lambda t: t.stored),
    ("modelwarden_rows_sampled_out", "Inferences left out by sampling.", lambda t: t.sampled_out),
    ("modelwarden_rows_retired", "Stored inferences removed for their age.", lambda t: t.retired),
    ("modelwarden_rows_forgotten", "Stored inferences removed on request.", lambda t: t.forgotten),
    ("modelwarden_labels_acknowledged", "Labels that are durable.", lambda t: t.labels),
    ("modelwarden_labels_stored", "Labels in the table.", lambda t: t.labels_stored),
    (
        "modelwarden_labels_repeated",
        "Labels that came with the same data again.",
        lambda t: t.labels_repeated,
    ),
)
_GAUGES: tuple[tuple[str, str, Callable[[Totals], float | None]], ...] = (
    ("modelwarden_rows_waiting", "Inferences in the log, not yet in the tables.", lambda t: t.waiting),
    (
        "modelwarden_labels_without_inference",
        "Labels whose inference has not been seen.",
        lambda t: t.labels_waiting,
    ),
    (
        "modelwarden_newest_inference_timestamp_seconds",
        "Event time of the newest inference.",
        lambda t: None if t.newest_event is None else t.newest_event / 1e6,
    ),
    (
        "modelwarden_newest_arrival_timestamp_seconds",
        "When the newest inference arrived.",
        lambda t: None if t.newest_arrival is None else t.newest_arrival / 1e6,
    ),
    (
        "modelwarden_ingest_lag_seconds",
        "How far the newest event lies behind the newest arrival.",
        _lag,
    ),
)


class _Ledger(Collector):
    """The ledger's totals: those that survive restarts as counters, the state of things as gauges."""

    def __init__(self, totals: Callable[[], Totals | None], log_bytes: Callable[[], int]) -> None:
        self._totals = totals
        self._log_bytes = log_bytes

    def collect(self) -> Iterator[Metric]:
        totals = self._totals()
        if totals is None:
            return
        for name, text, count in _COUNTERS:
            yield CounterMetricFamily(name, text, value=count(totals))
        for name, text, state in _GAUGES:
            value = state(totals)
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)
        yield GaugeMetricFamily(
            "modelwarden_log_bytes", "Bytes of the log on the disk.", value=self._log_bytes()
        )
