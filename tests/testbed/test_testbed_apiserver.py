"""The API-only mode: a real API server, its faults on order, and nothing left of it afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.api_client import ApiClient, ApiError, wait_until
from testbed.apiserver import ApiServer
from testbed.processes import Process
from testbed.progress import SilentReporter

pytestmark = pytest.mark.api
PROJECT = Path(__file__).parents[2]
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(audit=True, reporter=SilentReporter()) as server:
        yield server


@pytest.fixture(scope="module")
def other() -> Iterator[ApiServer]:
    """A second server, of which the first knows nothing."""
    with ApiServer(reporter=SilentReporter()) as other:
        yield other
    assert not other.folder.exists()


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def kubectl(server: ApiServer, kubeconfig: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(server.programs / "kubectl"), f"--kubeconfig={kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def test_what_was_stored_is_there_after_a_restart(server: ApiServer) -> None:
    server.client.request("POST", CONFIG_MAPS, config_map("before-restart"))
    url = server.url
    server.restart_apiserver()
    assert server.url == url
    assert server.client.get(f"{CONFIG_MAPS}/before-restart")["metadata"]["name"] == "before-restart"


def test_nobody_answers_while_the_api_server_is_stopped(server: ApiServer) -> None:
    server.stop_apiserver()
    try:
        with pytest.raises(OSError, match="refused"):
            server.client.get("/version")
    finally:
        server.start_apiserver()
    assert server.client.get("/version")["gitVersion"].startswith("v1.35.")


def test_a_service_account_has_its_own_rights_and_no_more(server: ApiServer) -> None:
    kubeconfig = server.service_account_kubeconfig("default", "default")
    assert kubeconfig.stat().st_mode & 0o077 == 0
    who = json.loads(kubectl(server, kubeconfig, "auth", "whoami", "--output=json").stdout)
    assert who["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"
    refused = kubectl(server, kubeconfig, "get", "secrets")
    assert refused.returncode != 0
    assert "Forbidden" in refused.stderr


def test_owned_objects_are_garbage_collected(server: ApiServer) -> None:
    owner = server.client.request("POST", CONFIG_MAPS, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    owned = config_map("owned") | {"metadata": {"name": "owned", "ownerReferences": [reference]}}
    server.client.request("POST", CONFIG_MAPS, owned)
    server.client.request("DELETE", f"{CONFIG_MAPS}/owner")

    def gone() -> bool:
        return "owned" not in {each["metadata"]["name"] for each in server.client.get(CONFIG_MAPS)["items"]}

    wait_until(gone, 200, lambda: "the owned object is still there")


def test_every_request_is_in_the_audit_log(server: ApiServer) -> None:
    with pytest.raises(ApiError, match="not found"):
        server.client.get(f"{CONFIG_MAPS}/asked-for-in-vain")

    def told() -> list[dict[str, Any]]:
        # Others write, too: the last line may be half a one.
        lines = server.audit_log.read_text().split("\n")[:-1]
        events = [json.loads(line) for line in lines]
        return [each for each in events if each.get("objectRef", {}).get("name") == "asked-for-in-vain"]

    wait_until(lambda: bool(told()), 60, lambda: "the request is not in the log")
    (event,) = told()
    assert (event["verb"], event["responseStatus"]["code"]) == ("get", 404)


def test_two_servers_side_by_side_know_nothing_of_each_other(server: ApiServer, other: ApiServer) -> None:
    server.client.request("POST", CONFIG_MAPS, config_map("mine"))
    assert other.url != server.url
    with pytest.raises(ApiError, match="not found"):
        other.client.get(f"{CONFIG_MAPS}/mine")


def test_a_client_of_another_authority_is_not_let_in(server: ApiServer, other: ApiServer) -> None:
    certificates = other.client
    stranger = ApiClient(server.url, server.ca_certificate, certificates.certificate, certificates.key)
    with pytest.raises(ApiError) as refused:
        stranger.get(CONFIG_MAPS)
    assert refused.value.status == 401


CALLER = f"""
import sys; sys.path.insert(0, {str(PROJECT)!r})
from testbed.apiserver import ApiServer
from testbed.progress import SilentReporter
with ApiServer(reporter=SilentReporter()) as server:
    print(server.folder, flush=True)
    sys.stdin.readline()
"""


def processes_of(folder: Path) -> list[Process]:
    """Those whose arguments name the folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            named = str(folder).encode() in each.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if named and (process := Process.of(int(each.parent.name))):
            found.append(process)
    return found


def test_nothing_is_left_of_a_server_whose_owner_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert len(processes_of(folder)) == 3
        owner.kill()
    wait_until(lambda: not processes_of(folder), 120, lambda: f"still there: {processes_of(folder)}")
    wait_until(lambda: not folder.exists(), 120, lambda: f"{folder} is still there")
