"""Turns what the API server or the network says into one of our five error classes. Pure.

Messages are made here, not copied, where the server's would carry generated names or differ each time:
condition messages must stay the same over identical failures.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from modelwarden.errors import Bug, Conflict, DependencyMissing, InvalidSpec, ReconcileError, Transient

# Field paths of children that carry what the user wrote: a refusal there is the user's to mend.
_FROM_SPEC = re.compile(
    r"spec\.(template\.spec\.)?"
    r"(containers\[\d+\]\.(resources|env)|nodeSelector|tolerations|affinity|imagePullSecrets|priorityClassName"
    r"|resources|storageClassName|accessModes)"
)


def from_response(
    status: int, body: bytes, headers: Mapping[str, str], verb: str, what: str
) -> ReconcileError:
    """The error for an answer with `status` to `verb` on `what` ("deployments shop/census")."""
    answer = _parse(body)
    if status == 409:
        return Conflict(f"{verb} {what}: changed or taken meanwhile")
    if status == 403:
        return _forbidden(answer, verb, what)
    if status == 404:
        return DependencyMissing("NotFound", f"{what}: the kind or the namespace does not exist")
    if status in (400, 422):
        return _refused(answer, what)
    if status == 401:
        return Transient("Unauthorized", "The API server does not accept the operator's token")
    after = retry_after(headers)
    reason = "TooManyRequests" if status == 429 else "ApiServerError"
    return Transient(reason, f"The API server answered {status} to {verb} {what}", after)


def from_network(error: Exception, verb: str, what: str) -> ReconcileError:
    """The error for a request that got no answer."""
    return Transient("ApiServerUnreachable", f"No answer to {verb} {what}: {type(error).__name__}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, at most five minutes; None without a usable one."""
    try:
        return min(max(float(headers.get("Retry-After", "")), 0.0), 300.0)
    except ValueError:
        return None


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _causes(answer: dict[str, Any]) -> list[dict[str, Any]]:
    causes = (answer.get("details") or {}).get("causes") or []
    return [cause for cause in causes if isinstance(cause, dict)]


def _forbidden(answer: dict[str, Any], verb: str, what: str) -> ReconcileError:
    """403 comes from the caller's rights, and from admission: quotas, policies, claims that cannot grow."""
    said = str(answer.get("message", ""))
    if any(cause.get("reason") == "NamespaceTerminating" for cause in _causes(answer)):
        return Transient("NamespaceTerminating", "The namespace is being deleted")
    if "exceeded quota" in said:
        return Transient("QuotaExceeded", f"A ResourceQuota of the namespace leaves no room for {what}")
    if " cannot " in said:
        return DependencyMissing("Forbidden", f"The operator may not {verb} {what}: grant it the verb")
    _, _, why = said.partition("is forbidden: ")
    return DependencyMissing(
        "RefusedByAdmission", f"{what} is not admitted: {why or said or 'no reason given'}"
    )


def _refused(answer: dict[str, Any], what: str) -> ReconcileError:
    fields = sorted({str(cause.get("field", "")) for cause in _causes(answer)} - {""})
    named = ", ".join(fields) or "no field named"
    if fields and all(_FROM_SPEC.match(field) for field in fields):
        return InvalidSpec(
            "RefusedByApiServer", f"{what} is refused because of {named}: correct it in the spec"
        )
    return Bug(f"{what} is refused because of {named}")
