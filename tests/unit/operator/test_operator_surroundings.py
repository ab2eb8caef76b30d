"""Settings, logs, metrics and probes of the operator process."""

import asyncio
import json
import logging
import sys
import time
import tomllib
import urllib.error
import urllib.request
from typing import Any

import pytest
from operator_process import ROOT

import modelwarden
from modelwarden.__main__ import main
from modelwarden.errors import Transient
from modelwarden.probes import Health, ProbeServer
from modelwarden.reconcile.outcome import Outcome
from modelwarden.reconcile.ports import Key
from modelwarden.settings import OperatorSettings
from modelwarden.telemetry import JsonLines, Metrics


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert modelwarden.__version__ == project["version"]


def test_settings_come_from_the_environment_lists_and_json_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWARDEN_WATCH_NAMESPACES", "shop, bank,")
    monkeypatch.setenv("MODELWARDEN_POD_DEFAULTS", '{"nodeSelector": {"pool": "ml"}}')
    monkeypatch.setenv("MODELWARDEN_STORE_RESOURCES", '{"limits": {"memory": "4Gi"}}')
    settings = OperatorSettings()
    assert settings.watch_namespaces == ("shop", "bank")
    assert settings.pod_defaults.node_selector == {"pool": "ml"}
    assert settings.store_resources.limits is not None
    assert settings.store_resources.limits.memory == "4Gi"
    assert settings.endpoint(Key("shop", "census")) == "http://census.shop.svc:8080"


def test_a_setting_that_cannot_be_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELWARDEN_RESYNC", "soon")
    assert main(["run"]) == 2
    assert capsys.readouterr().err.startswith("MODELWARDEN_RESYNC: ")


def test_a_log_line_is_one_json_object_with_the_object_s_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "levelno": logging.INFO, "levelname": "INFO", "msg": "two\nlines %s", "args": ("a",)}
    )
    record.__dict__ |= {"kind": "MonitoredModel", "namespace": "shop", "object": "census", "uid": "u"}
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["kind"], line["namespace"], line["name"]) == ("MonitoredModel", "shop", "census")
    assert line["message"] == "two\nlines a"
    assert line["level"] == "info"


def test_a_stack_stays_on_its_line() -> None:
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info(), "levelname": "ERROR"})
    line = json.loads(JsonLines().format(record))
    assert "ZeroDivisionError" in line["stack"]


def test_metrics_count_by_kind_and_result_and_conditions_go_up_and_down() -> None:
    metrics = Metrics("1.2.3")
    metrics.reconciled("MonitoredModel", Outcome(), 0.1, 0.02)
    metrics.reconciled("MonitoredModel", Outcome(trouble=Transient("X", "x")), 0.1, None)
    metrics.conditions_changed("MonitoredModel", (), (("Ready", "False"),))
    metrics.conditions_changed("MonitoredModel", (("Ready", "False"),), (("Ready", "True"),))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("modelwarden_reconcile_total", kind="MonitoredModel", result="success") == 1
    assert value("modelwarden_reconcile_total", kind="MonitoredModel", result="Transient") == 1
    assert value("modelwarden_wakeup_lag_seconds_count", kind="MonitoredModel") == 1
    assert value("modelwarden_conditions", kind="MonitoredModel", type="Ready", status="True") == 1
    assert value("modelwarden_conditions", kind="MonitoredModel", type="Ready", status="False") == 0
    assert value("modelwarden_build_info", version="1.2.3") == 1


def ask(server: ProbeServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_liveness_fails_while_the_loop_is_blocked_and_is_well_again_afterwards() -> None:
    now = 0.0
    health = Health(stuck_after=30, monotonic=lambda: now)
    server = ProbeServer("127.0.0.1", 0, health, lambda: b"metrics")
    beat = asyncio.create_task(health.beat(lambda: 0.0))
    try:
        await asyncio.sleep(0)
        assert (await asyncio.to_thread(ask, server, "/healthz"))[0] == 200
        now = 31.0
        status, said = ask(server, "/healthz")  # not awaited: the loop stands still meanwhile
        assert status == 503
        assert "event loop" in said
        assert await asyncio.to_thread(_ask_until, server, "/healthz", 200) == "ok\n"
    finally:
        beat.cancel()
        await asyncio.to_thread(server.close)


def test_liveness_fails_when_a_change_waits_too_long() -> None:
    health = Health(stuck_after=30, wait_limit=10)
    assert health.answer("/healthz") == (200, "ok")
    health.wait = 11
    answer: Any = health.answer("/healthz")
    assert answer[0] == 503


def test_readiness_says_what_it_waits_for_and_other_paths_are_not_found() -> None:
    health = Health(stuck_after=30)
    server = ProbeServer("127.0.0.1", 0, health, lambda: b"some_metric 1\n")
    try:
        health.waiting_for = "the lease"
        assert ask(server, "/readyz") == (503, "waiting for the lease\n")
        health.ready = True
        assert ask(server, "/readyz") == (200, "ok\n")
        assert ask(server, "/metrics") == (200, "some_metric 1\n")
        assert ask(server, "/other")[0] == 404
    finally:
        server.close()


def _ask_until(server: ProbeServer, path: str, status: int) -> str:
    deadline = time.monotonic() + 60
    while True:
        found, body = ask(server, path)
        if found == status:
            return body
        assert time.monotonic() < deadline, (found, body)
        time.sleep(0.02)
