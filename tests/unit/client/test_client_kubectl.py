"""What kubectl is given by the client, and how its failures are told: a program of the test's stands in."""

import json
import sys
from pathlib import Path

import pytest

from modelwarden.client.conduit import ConduitError
from modelwarden.client.conduit.kubectl import Namespace
from modelwarden.client.kubectl import Kubectl, KubectlError, condition_of

PROGRAM = """\
#!{python}
import json, pathlib, sys, time
given = sys.stdin.read() if "-f" in sys.argv else ""
told = json.dumps({{"arguments": sys.argv[1:], "given": given}})
pathlib.Path(__file__).with_name("asked.jsonl").open("a").write(told + "\\n")
if "refused" in told:
    sys.exit("error: no such thing")
if "port-forward" in sys.argv:
    print("Forwarding from 127.0.0.1:4711 -> 8080", flush=True)
    time.sleep(60)
if "get" in sys.argv and "gone" not in sys.argv:
    status = {{"observedGeneration": 1, "conditions": [{{"type": "Ready", "status": "True"}}]}}
    print(json.dumps({{"metadata": {{"generation": 2 if "changed" in sys.argv else 1}}, "status": status}}))
"""
CONTEXT = ("--context", "prod")


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    program = tmp_path / "kubectl"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o700)
    return Kubectl(program, CONTEXT)


def asked(kubectl: Kubectl) -> list[dict]:
    return [
        json.loads(line) for line in Path(kubectl.program).with_name("asked.jsonl").read_text().splitlines()
    ]


def test_options_come_before_what_is_asked_and_a_text_is_applied_from_standard_input(
    kubectl: Kubectl,
) -> None:
    kubectl.apply("kind: Secret", "--force-conflicts")
    (call,) = asked(kubectl)
    assert call["arguments"] == [*CONTEXT, "apply", "--server-side", "-f", "-", "--force-conflicts"]
    assert call["given"] == "kind: Secret"


def test_a_file_is_applied_by_its_name(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(tmp_path / "model.yaml")
    assert asked(kubectl)[0]["arguments"][-1] == str(tmp_path / "model.yaml")
    assert asked(kubectl)[0]["given"] == ""


def test_an_object_that_is_not_there_is_none_and_what_kubectl_says_is_the_error(kubectl: Kubectl) -> None:
    assert kubectl.get("secret", "gone") is None
    with pytest.raises(KubectlError, match="no such thing"):
        kubectl.get("secret", "refused")


def test_a_program_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KubectlError, match="there is no"):
        Kubectl(tmp_path / "kubectl").run("get", "pods")
    with pytest.raises(ConduitError, match="out=folder"):
        Namespace("risk", Kubectl(tmp_path / "kubectl")).key("credit")


def test_a_flow_is_applied_in_its_namespace_and_in_a_name_of_its_own(kubectl: Kubectl) -> None:
    Namespace("risk", kubectl).apply({"kind": "MonitoredModel"})
    (call,) = asked(kubectl)
    assert call["arguments"][:5] == [*CONTEXT, "--namespace", "risk", "apply"]
    assert {"--server-side", "--field-manager=modelwarden-conduit"} <= set(call["arguments"])
    assert json.loads(call["given"]) == {"kind": "MonitoredModel"}


def test_deploying_raises_its_own_error_for_what_kubectl_refuses(kubectl: Kubectl) -> None:
    with pytest.raises(ConduitError, match="no such thing"):
        Namespace("risk", kubectl).apply({"name": "refused"})


def test_a_status_of_an_older_generation_is_none(kubectl: Kubectl) -> None:
    target = Namespace("risk", kubectl)
    assert condition_of(target.status("credit"), "Ready")["status"] == "True"
    assert condition_of(target.status("credit"), "StoreAvailable") == {}
    assert target.status("changed") == {}


def test_the_way_to_a_service_lasts_as_long_as_its_block(kubectl: Kubectl) -> None:
    with Namespace("risk", kubectl).forwarded("credit") as url:
        assert url == "http://127.0.0.1:4711"
    assert asked(kubectl)[0]["arguments"][4:6] == ["port-forward", "service/credit"]
    with (
        pytest.raises(ConduitError, match="no such thing"),
        Namespace("risk", kubectl).forwarded("refused"),
    ):
        pytest.fail("there is no way")
