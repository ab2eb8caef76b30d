"""Whether a live object still holds an intent: what counts as a difference and what does not."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden.reconcile.drift import STAMP, differs, stamped

INTENT = {
    "kind": "Deployment",
    "metadata": {"name": "census", "labels": {"ours": "1"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "store",
                        "resources": {"requests": {"cpu": "1000m", "memory": "1Gi"}},
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/a"},
                            {"name": "config", "mountPath": "/b"},
                        ],
                    }
                ],
                "tolerations": [{"key": "gpu"}, {"key": "gpu", "value": "x"}],
                "nodeSelector": {},
            }
        },
    },
}


def live() -> dict[str, Any]:
    """As the API server would give it back: with defaults, others' fields and rewritten quantities."""
    found = copy.deepcopy(stamped(INTENT))
    found["metadata"] |= {"uid": "u", "resourceVersion": "5"}
    found["metadata"]["labels"]["theirs"] = "2"
    pod = found["spec"]["template"]["spec"]
    del pod["nodeSelector"]
    pod["dnsPolicy"] = "ClusterFirst"
    pod["containers"][0]["resources"]["requests"]["cpu"] = "1"
    pod["containers"].append({"name": "injected-by-somebody"})
    pod["containers"][0]["volumeMounts"].append({"name": "token", "mountPath": "/var"})
    return found


def test_defaults_additions_and_rewritten_quantities_are_no_difference() -> None:
    assert differs(stamped(INTENT), live()) is None


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("spec.replicas", lambda o: o["spec"].update(replicas=3)),
        ("metadata.labels.ours", lambda o: o["metadata"]["labels"].pop("ours")),
        (
            "spec.template.spec.containers[store].resources.requests.memory",
            lambda o: o["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"].update(
                memory="2Gi"
            ),
        ),
        (
            "spec.template.spec.containers[store].volumeMounts[/b]",
            lambda o: o["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].pop(1),
        ),
        (
            "spec.template.spec.containers[store]",
            lambda o: o["spec"]["template"]["spec"]["containers"].pop(0),
        ),
        ("spec.template.spec.tolerations", lambda o: o["spec"]["template"]["spec"]["tolerations"].append({})),
        ("spec.template.spec.tolerations[1].value", lambda o: _toleration(o).update(value="y")),
        (f"metadata.annotations.{STAMP}", lambda o: o["metadata"]["annotations"].clear()),
    ],
)
def test_an_edited_or_missing_value_of_ours_is_found_by_its_path(path: str, change: Any) -> None:
    edited = live()
    change(edited)
    assert differs(stamped(INTENT), edited) == path


def test_a_field_that_is_dropped_from_the_intent_is_a_difference_although_all_values_are_there() -> None:
    smaller = copy.deepcopy(INTENT)
    del smaller["spec"]["template"]["spec"]["tolerations"]
    assert differs(stamped(smaller), live()) == f"metadata.annotations.{STAMP}"


def test_an_empty_list_of_ours_means_that_there_must_be_none() -> None:
    assert differs({"egress": []}, {}) is None
    assert differs({"egress": []}, {"egress": [{}]}) == "egress"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_every_manifest_holds_itself(content: dict[str, Any]) -> None:
    manifest = stamped({"kind": "X", "metadata": {"name": "x"}, "content": content})
    assert differs(manifest, copy.deepcopy(manifest)) is None


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_stamping_changes_nothing_but_one_annotation_and_not_its_argument(content: dict[str, Any]) -> None:
    manifest = {"kind": "X", "metadata": {"name": "x"}, "content": content}
    before = copy.deepcopy(manifest)
    result = stamped(manifest)
    assert manifest == before
    del result["metadata"]["annotations"]
    assert result == before


def _toleration(found: dict[str, Any]) -> dict[str, Any]:
    toleration: dict[str, Any] = found["spec"]["template"]["spec"]["tolerations"][1]
    return toleration
