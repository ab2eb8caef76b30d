"""Metrics and JSON logs of the operator. Labels are bounded: kinds, results, condition types; never names.

Must not know what a reconcile does; it is told.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from modelwarden.reconcile.outcome import Outcome

_LAG_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FIELDS = ("kind", "namespace", "object", "uid", "reason", "failures")


class Metrics:
    """The operator's own registry; tests read it."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._total = Counter(
            "modelwarden_reconcile",
            "Reconciles by kind and result",
            ("kind", "result"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "modelwarden_reconcile_seconds", "Duration of a reconcile", ("kind",), registry=self.registry
        )
        self._lag = Histogram(
            "modelwarden_wakeup_lag_seconds",
            "From a wake-up to the reconcile that serves it",
            ("kind",),
            registry=self.registry,
            buckets=_LAG_BUCKETS,
        )
        self._conditions = Gauge(
            "modelwarden_conditions",
            "Objects by kind, condition type and status",
            ("kind", "type", "status"),
            registry=self.registry,
        )
        build = Gauge("modelwarden_build_info", "Always 1", ("version",), registry=self.registry)
        build.labels(version).set(1)

    def reconciled(self, kind: str, outcome: Outcome, seconds: float, lag: float | None) -> None:
        """One reconcile is done; `lag` in seconds, None if it was due and not woken."""
        self._total.labels(kind, outcome.result).inc()
        self._seconds.labels(kind).observe(seconds)
        if lag is not None:
            self._lag.labels(kind).observe(lag)

    def conditions_changed(
        self, kind: str, before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]
    ) -> None:
        """An object's (type, status) pairs went from `before` to `after`."""
        for type_, status in before:
            self._conditions.labels(kind, type_, status).dec()
        for type_, status in after:
            self._conditions.labels(kind, type_, status).inc()

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; kind, namespace, name and uid where known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _FIELDS:
            if (value := record.__dict__.get(name)) is not None:
                # `name` is taken in a log record (it is the logger's), hence `object` on the way here.
                line["name" if name == "object" else name] = value
        if record.exc_info:
            line["stack"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure_logging(level: str, style: str) -> None:
    """Send everything to stderr, as JSON lines or as text for a person."""
    handler = logging.StreamHandler(sys.stderr)
    text = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter(text))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # kopf narrates every event at DEBUG and INFO; the client's requests would drown the rest.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
