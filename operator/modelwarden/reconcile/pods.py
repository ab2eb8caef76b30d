"""Why a pod is not running, in words that stay the same while the cause does. Pure.

The kubelet's own reasons alternate (ErrImagePull, ImagePullBackOff; CrashLoopBackOff, Error, running): each
group becomes one reason here. Messages of processes are not passed on: they could hold rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import Verdict, no

_PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Advice:
    """Where a person looks and what he changes: what to say after `kubectl logs`, for example
    "deploy/census", and the field of the spec that limits memory.
    """

    logs: str
    memory: str = "limits.memory"


def newest_first(pods: Iterable[Manifest]) -> list[Manifest]:
    """By the time they were made."""
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)


def trouble_of(pods: Iterable[Manifest], advice: Advice) -> Verdict | None:
    """The first reason, over all pods, why one cannot run; None if all run or are only starting."""
    for pod in newest_first(pods):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        found = _placement(pod) or _containers(pod, advice)
        if found is not None:
            return found
    return None


def _placement(pod: Manifest) -> Verdict | None:
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return no(Reason.EVICTED, "The node put the pod out for want of room: see kubectl describe node")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return no(Reason.UNSCHEDULABLE, f"No node takes the pod: {condition.get('message', '')}")
    return None


def _containers(pod: Manifest, advice: Advice) -> Verdict | None:
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        if container.get("ready"):
            continue
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in _PULL:
            image = container.get("image", "")
            return no(
                Reason.IMAGE_PULL_FAILED, f"Image {image} cannot be had: check its name and the pull secrets"
            )
        if waiting.get("reason") in _CONFIG:
            return no(Reason.CONTAINER_CONFIG, f"The container cannot be made: {waiting.get('message', '')}")
        ended = _ended(container, state)
        if ended is not None:
            return _end(ended, advice)
    return None


def _ended(container: dict[str, Any], state: dict[str, Any]) -> dict[str, Any] | None:
    """How the container's process last ended, if it did and not of its own accord."""
    for ended in (state.get("terminated"), (container.get("lastState") or {}).get("terminated")):
        if isinstance(ended, dict) and ended.get("exitCode", 0) != 0:
            return ended
    return None


def _end(ended: dict[str, Any], advice: Advice) -> Verdict:
    if ended.get("reason") == "OOMKilled":
        text = f"The process used more memory than its limit: raise {advice.memory}"
        return no(Reason.OUT_OF_MEMORY, text)
    code = ended.get("exitCode")
    return no(Reason.CRASH_LOOPING, f"The process ends with code {code}: see kubectl logs {advice.logs}")
