"""What the API server says becomes one of five classes, with a message that stays the same."""

import json
from typing import Any

import pytest

from modelwarden.cluster import faults
from modelwarden.cluster.client import path_of
from modelwarden.errors import Bug, Conflict, DependencyMissing, InvalidSpec, Transient
from modelwarden.reconcile.ports import CLAIM, DEPLOYMENT, MODEL

WHAT = "deployments shop/census"


def causes(*fields: str, reason: str = "FieldValueInvalid") -> dict[str, Any]:
    return {"details": {"causes": [{"field": field, "reason": reason} for field in fields]}}


@pytest.mark.parametrize(
    ("status", "body", "expected", "reason"),
    [
        (409, {}, Conflict, "Conflict"),
        (401, {}, Transient, "Unauthorized"),
        (403, {"message": 'User "x" cannot patch resource'}, DependencyMissing, "Forbidden"),
        (403, {"message": "exceeded quota: small"}, Transient, "QuotaExceeded"),
        (403, causes("", reason="NamespaceTerminating"), Transient, "NamespaceTerminating"),
        (403, {"message": "admission webhook denied it"}, DependencyMissing, "RefusedByAdmission"),
        (404, {}, DependencyMissing, "NotFound"),
        (422, causes("spec.template.spec.tolerations[0].operator"), InvalidSpec, "RefusedByApiServer"),
        (422, causes("spec.resources.requests.storage"), InvalidSpec, "RefusedByApiServer"),
        (
            422,
            causes("spec.template.spec.containers[0].resources.requests"),
            InvalidSpec,
            "RefusedByApiServer",
        ),
        (422, causes("spec.template.spec.containers[0].image"), Bug, "InternalError"),
        (422, {}, Bug, "InternalError"),
        (400, {}, Bug, "InternalError"),
        (429, {}, Transient, "TooManyRequests"),
        (500, {}, Transient, "ApiServerError"),
        (503, {}, Transient, "ApiServerError"),
    ],
)
def test_an_answer_has_one_class_and_reason(status: int, body: Any, expected: Any, reason: str) -> None:
    error = faults.from_response(status, json.dumps(body).encode(), {}, "patch", WHAT)
    assert (type(error), error.reason) == (expected, reason)


def test_a_body_that_is_no_json_changes_nothing() -> None:
    assert faults.from_response(500, b"<html>", {}, "get", WHAT).reason == "ApiServerError"
    assert faults.from_response(403, b"[]", {}, "get", WHAT).reason == "RefusedByAdmission"


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0", 0.0), ("-3", 0.0), ("9999", 300.0), ("soon", None), ("", None)]
)
def test_retry_after_is_honoured_within_reason(header: str, seconds: float | None) -> None:
    error = faults.from_response(429, b"{}", {"Retry-After": header}, "get", WHAT)
    assert isinstance(error, Transient)
    assert error.retry_after == seconds


def test_paths_are_those_of_the_api_server() -> None:
    assert path_of(CLAIM, "shop", "x") == "/api/v1/namespaces/shop/persistentvolumeclaims/x"
    assert path_of(DEPLOYMENT, None) == "/apis/apps/v1/deployments"
    assert path_of(MODEL, "shop", "x", "status").endswith("/monitoredmodels/x/status")
    assert "/../" not in path_of(MODEL, "shop", "../secrets")
