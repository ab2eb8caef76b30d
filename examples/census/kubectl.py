"""What the demo does by kubectl beyond a single call: wait, and what to print when something went wrong.

The demo goes through kubectl and not through a client library because that is what its reader has and will
type next.

What this module must not do: know the census, or the operator's objects.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelwarden.client.kubectl import Kubectl, KubectlError, condition_of
from testbed.cluster import Cluster

__all__ = [
    "Kubectl",
    "KubectlError",
    "NotInTimeError",
    "Waiting",
    "condition",
    "diagnosis",
    "kubectl_of",
    "wait_for",
]


class NotInTimeError(RuntimeError):
    """What was waited for did not come; the message says what was seen last."""


def kubectl_of(cluster: Cluster) -> Kubectl:
    """The kubectl that belongs to a cluster of the testbed."""
    return Kubectl(cluster.programs / "kubectl", ("--kubeconfig", str(cluster.kubeconfig)))


@dataclass(frozen=True)
class Waiting:
    """How long to wait for something, how often to look, and who hears what is so meanwhile."""

    seconds: float
    every: float = 0.5
    heard: Callable[[str], None] = lambda _: None


def wait_for(what: str, look: Callable[[], tuple[bool, str]], waiting: Waiting) -> None:
    """Looks until `look` says (True, …); its text is what is so now, for the one who watches.

    Raises:
        NotInTimeError: it did not come about in time.
    """
    deadline = time.monotonic() + waiting.seconds
    while True:
        so, now = look()
        if so:
            return
        waiting.heard(now)
        if time.monotonic() > deadline:
            raise NotInTimeError(f"{what}: not within {waiting.seconds:.0f} s; last seen: {now}")
        time.sleep(waiting.every)


def condition(found: dict[str, Any] | None, kind: str) -> tuple[bool, str]:
    """Whether a condition of an object is True for its current generation, and what it says."""
    if found is None:
        return False, "not there yet"
    entry = condition_of(found.get("status") or {}, kind)
    if not entry:
        return False, f"no condition {kind} yet"
    generation = found["metadata"].get("generation", 0)
    current = entry.get("observedGeneration", generation) >= generation
    said = f"{kind}={entry['status']} {entry.get('reason', '')}: {entry.get('message', '')}"
    return entry["status"] == "True" and current, said


def diagnosis(kubectl: Kubectl, namespaces: Sequence[str]) -> str:
    """Pods, events and logs of some namespaces: what a person would ask for after a failure."""
    told = []
    for namespace in namespaces:
        told.append(f"----- namespace {namespace}")
        questions = [
            ("get", "pods,jobs,pvc", "--output", "wide"),
            ("get", "events", "--sort-by", ".lastTimestamp"),
        ]
        told += [_tried(kubectl, *question, "--namespace", namespace) for question in questions]
        try:
            pods = [pod["metadata"]["name"] for pod in kubectl.list("pods", namespace)]
        except (KubectlError, subprocess.TimeoutExpired):
            pods = []
        for pod in pods:
            told.append(f"----- logs of {namespace}/{pod}")
            told.append(
                _tried(kubectl, "logs", pod, "--namespace", namespace, "--tail", "60", "--all-containers")
            )
    return "\n".join(told)


def _tried(kubectl: Kubectl, *arguments: str) -> str:
    try:
        return kubectl.run(*arguments, seconds=20)
    except (KubectlError, subprocess.TimeoutExpired) as reason:
        return f"({reason})"
