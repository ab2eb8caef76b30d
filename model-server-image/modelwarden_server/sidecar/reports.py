"""What a sidecar says of its pod: to the store every few seconds, to Prometheus when it is asked.

Must not hold row values, ids or names of a user's files in any label.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden import __version__
from modelwarden.resources.server import CodePlan, CodeReport, PodReport, ServerPlan
from modelwarden_server.sidecar.pod import Pod

_STARTING = "the model server is starting"
_COUNTERS = (
    ("tasks", "Pieces of work with rows to be explained that were finished.", "tasks"),
    ("failed_tasks", "Pieces of work that could not be finished here.", "failed_tasks"),
    ("explained_rows", "Stored rows whose explanations were brought back.", "explained_rows"),
    ("failed_rows", "Of these, rows that have none but a reason why.", "failed_rows"),
    ("predictions", "Predictions made.", "predicted"),
    ("failed_predictions", "Predictions that failed.", "failed_predictions"),
    ("forwarded_requests", "Requests with rows passed on to the store.", "forwarded"),
)


def pod_report(pod: Pod) -> PodReport:
    """How far the pod is with the plan that it knows."""
    return PodReport(
        pod=pod.name,
        plan_hash="" if pod.plan is None or not settled(pod) else pod.plan.plan_hash,
        version=__version__,
        started_at=pod.started_at,
        codes=codes(pod),
        predicted=pod.counts.predicted,
        failed_predictions=pod.counts.failed_predictions,
    )


def codes(pod: Pod) -> tuple[CodeReport, ...]:
    """Each code of the plan once: what is in its way, or what the model server says of it."""
    plan = pod.plan or ServerPlan(plan_hash="")
    return tuple(_report(pod, code) for code in plan.codes)


def _report(pod: Pod, code: CodePlan) -> CodeReport:
    told = pod.report_of(code.role)
    if told is None:
        return CodeReport(role=code.role, code_hash=code.code_hash, state="Waiting", message=_STARTING)
    goes_on = code.role == "serve" and told.state != "Ready" and pod.ready(code.role)
    return told.model_copy(update={"before": goes_on})


def settled(pod: Pod) -> bool:
    """Whether everything that the plan names runs or has failed: a rollout need not wait for more."""
    return pod.plan is not None and all(code.state not in ("Waiting", "Loading") for code in codes(pod))


class _Collector(Collector):
    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def collect(self) -> Iterator[Metric]:
        counts = self._pod.counts
        for name, text, attribute in _COUNTERS:
            yield CounterMetricFamily(f"modelwarden_server_{name}", text, value=getattr(counts, attribute))
        ready = GaugeMetricFamily(
            "modelwarden_server_code_ready", "Whether the user's code runs, by its role.", labels=["role"]
        )
        restarts = CounterMetricFamily(
            "modelwarden_server_code_restarts", "How often the user's code was restarted.", labels=["role"]
        )
        for report in codes(self._pod):
            ready.add_metric([report.role], float(report.state == "Ready"))
            restarts.add_metric([report.role], report.restarts)
        yield ready
        yield restarts


def registry(pod: Pod) -> CollectorRegistry:
    """The metrics of one sidecar; others may be added to it."""
    made = CollectorRegistry()
    made.register(_Collector(pod))
    return made


def exposition(metrics: CollectorRegistry) -> bytes:
    """Prometheus' text format."""
    return generate_latest(metrics)
