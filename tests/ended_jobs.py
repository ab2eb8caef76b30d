"""Ends Jobs where no node runs: the test says what the Job controller and the kubelet would say."""

from datetime import UTC, datetime
from typing import Any

from cluster_client import ClusterClient
from operator_process import eventually


def finish(cluster: ClusterClient, namespace: str, name: str, how: str) -> None:
    """The Job is Complete or Failed."""
    # The start is the real controller's, and may not be changed; the end may not be before it.
    started = eventually(lambda: cluster.get("Job", namespace, name)["status"].get("startTime"))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[how]
    reason = {"Complete": "CompletionsReached", "Failed": "BackoffLimitExceeded"}[how]
    common = {"status": "True", "reason": reason, "lastTransitionTime": now, "lastProbeTime": now}
    conditions = [common | {"type": before}, common | {"type": how}]
    done: dict[str, Any] = {"conditions": conditions, "startTime": started}
    done |= {"active": 0, "ready": 0, "terminating": 0, "uncountedTerminatedPods": None}
    done |= {"completionTime": now, "succeeded": 1} if how == "Complete" else {"failed": 1}
    cluster.patch("Job", namespace, name, {"status": done}, "status")


def end_pod(cluster: ClusterClient, namespace: str, job: str, reason: str, code: int) -> None:
    """The process of the Job's pod has ended so, as its kubelet would say it."""
    (pod,) = eventually(lambda: cluster.all_of("Pod", namespace, f"batch.kubernetes.io/job-name={job}"))
    ended = {"exitCode": code, "reason": reason}
    container = pod["spec"]["containers"][0]
    told = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    body = {"status": {"containerStatuses": [told]}}
    cluster.patch("Pod", namespace, pod["metadata"]["name"], body, "status")
