"""The objects of a cell: pure functions of the model, safe by construction, free of the parent's labels."""

import copy
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_factory import attribute, binary_attributes
from model_worlds import INSTALL, settled, world
from operator_process import ROOT

from modelwarden.reconcile.monitoredmodel.blueprint import blueprint_of
from modelwarden.reconcile.monitoredmodel.decide import decide

_PROGRAM = """
import json
from model_worlds import INSTALL, world
from modelwarden.reconcile.monitoredmodel.decide import decide
pod = {"nodeSelector": {"b": "1", "a": "2"}, "labels": {"z": "1", "y": "2"}}
print(json.dumps(decide(world(pod=pod), INSTALL).intents))
"""


def test_the_same_model_gives_the_same_bytes_in_every_process() -> None:
    path = os.pathsep.join(str(ROOT / part) for part in ("operator", "tests", "."))
    # Another seed than this process has, which is a random one unless it was told which.
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    printed = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"PYTHONPATH": path, "PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pod = {"nodeSelector": {"b": "1", "a": "2"}, "labels": {"z": "1", "y": "2"}}
    assert printed == json.dumps(decide(world(pod=pod), INSTALL).intents) + "\n"


def test_deciding_mutates_nothing_it_was_given() -> None:
    given_world, _ = settled()
    before = copy.deepcopy(given_world)
    decide(given_world, INSTALL)
    assert given_world == before


def test_what_was_applied_needs_no_further_apply() -> None:
    _, plan = settled()
    again, _ = settled()
    assert decide(again, INSTALL).intents == plan.intents


def test_an_intent_carries_nothing_that_belongs_to_the_api_server() -> None:
    for intent in decide(world(), INSTALL).intents:
        assert "status" not in intent
        assert not intent["metadata"].keys() & {"uid", "resourceVersion", "creationTimestamp", "generation"}


_MARKS = st.dictionaries(
    st.sampled_from(
        [
            "app.kubernetes.io/instance",
            "argocd.argoproj.io/instance",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/name",
            "app.kubernetes.io/managed-by",
            "team",
        ]
    ),
    st.text("abc", min_size=1, max_size=5).map(lambda text: f"theirs-{text}"),
)


@given(labels=_MARKS, annotations=_MARKS)
def test_no_label_or_annotation_of_the_model_reaches_a_child(
    labels: dict[str, str], annotations: dict[str, str]
) -> None:
    marked = decide(world(meta={"labels": labels, "annotations": annotations}), INSTALL).intents
    assert marked == decide(world(), INSTALL).intents


def test_the_user_s_pod_labels_never_replace_ours() -> None:
    labels = {"app.kubernetes.io/name": "x", "modelwarden.dev/model": "x", "team": "risk"}
    template = _deployment(world(pod={"labels": labels}))["spec"]["template"]
    assert template["metadata"]["labels"]["modelwarden.dev/model"] == "census"
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == "modelwarden-cell"
    assert template["metadata"]["labels"]["team"] == "risk"


def test_the_selector_is_part_of_every_pod_s_labels() -> None:
    spec = _deployment(world())["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_the_store_s_pod_has_no_token_no_root_and_a_read_only_root() -> None:
    spec = _deployment(world())["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_a_threshold_changes_the_settings_and_nothing_that_restarts_the_store() -> None:
    before, after = decide(world(), INSTALL), decide(world(monitoring={"driftThreshold": 0.9}), INSTALL)
    changed = [a["metadata"]["name"] for a, b in zip(before.intents, after.intents, strict=True) if a != b]
    assert changed == ["census-settings"]


def test_the_install_s_pod_options_lie_under_the_model_s() -> None:
    from dataclasses import replace

    from modelwarden.resources.pod import PodSpec

    defaults = PodSpec.model_validate({"nodeSelector": {"a": "1", "b": "1"}, "priorityClassName": "low"})
    install = replace(INSTALL, pod_defaults=defaults)
    own = {"nodeSelector": {"b": "2"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    spec = _deployment(world(pod=own), install)["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"a": "1", "b": "2"}
    assert spec["priorityClassName"] == "low"
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


def test_a_claim_never_asks_for_less_than_it_has() -> None:
    storage = {"persistentVolumeClaim": {"size": "5Gi"}}
    big, _ = settled(storage=storage)
    smaller = world(storage={"persistentVolumeClaim": {"size": "2Gi"}})
    again = decide(type(big)(smaller.live, smaller.model, big.children, big.identities), INSTALL)
    claim = next(i for i in again.intents if i["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"


def test_the_claim_outlives_the_model_and_everything_else_does_not() -> None:
    for intent in decide(world(), INSTALL).intents:
        owned = bool(intent["metadata"].get("ownerReferences"))
        assert owned == (intent["kind"] != "PersistentVolumeClaim")


def test_the_key_is_in_no_object_but_the_secret() -> None:
    plan = blueprint_of(world().model, INSTALL)
    for intent in decide(world(), INSTALL).intents:
        assert plan.key not in json.dumps(intent)
    assert plan.key not in repr(plan)
    assert repr(INSTALL.secret) not in repr(plan)


@pytest.mark.parametrize("count", [4, 1000])
def test_the_largest_model_is_decided_without_blocking_the_loop(count: int) -> None:
    """Processor time of the pure part of a reconcile: the loop must not stand still for over 0.2 s.

    The least of three: what a busy machine adds is not the code's.
    """
    more = [attribute(f"x{n}", "PIPELINE_INPUT", 2 + n) for n in range(count - 4)]
    attributes = binary_attributes() + more
    wide = world(attributes=attributes)
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        plan = decide(wide, INSTALL)
        seconds.append(time.process_time() - begun)
        assert len(plan.intents) == 8
    assert min(seconds) < 0.2


def _deployment(of: Any, install: Any = INSTALL) -> Any:
    return next(i for i in decide(of, install).intents if i["kind"] == "Deployment")
