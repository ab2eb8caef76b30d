"""Every example that a person is shown applies as it stands and, with a store that answers, becomes Ready."""

import re
from typing import Any

import pytest
import yaml
from cluster_client import ClusterClient, explained
from operator_process import ROOT, eventually

from modelwarden.resources.meta import API_VERSION

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]


SHOWN = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _examples() -> list[tuple[str, str]]:
    """Files of the examples, and what README and docs show in YAML: name and text."""
    found = [(path.relative_to(ROOT), path.read_text()) for path in (ROOT / "examples").rglob("*.yaml")]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for page in pages:
        found += [(page.relative_to(ROOT), text) for text in SHOWN.findall(page.read_text())]
    ours = [(str(path), text) for path, text in found if f"apiVersion: {API_VERSION}" in text]
    return sorted((f"{path}-{number}", text) for number, (path, text) in enumerate(ours))


EXAMPLES = _examples()
# What the store of a model that is served says of its server.
PREDICTS = {"pods": [{"pod": "p", "codes": [{"role": "serve", "state": "Ready"}]}]}


def test_there_are_examples() -> None:
    names = [name for name, _ in EXAMPLES]
    assert any(name.startswith("README.md") for name in names)
    assert any(name.startswith("examples/") for name in names)


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_an_example_applies_and_becomes_ready(
    cluster: ClusterClient, namespace: str, answer: Any, text: str
) -> None:
    manifests = [manifest for manifest in yaml.safe_load_all(text) if manifest]
    models = [m["metadata"]["name"] for m in manifests if m["kind"] == "MonitoredModel"]
    for manifest in manifests:
        assert "namespace" not in manifest["metadata"], "an example goes where it is applied"
        manifest["metadata"]["namespace"] = namespace
        cluster.apply(manifest)
    for name in models:
        answer(namespace, name, server=PREDICTS)

        def ready(name: str = name) -> bool:
            return cluster.condition("MonitoredModel", namespace, name, "Ready").get("status") == "True"

        eventually(ready, why=lambda name=name: explained(cluster.get("MonitoredModel", namespace, name)))
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        condition = eventually(lambda kind=kind, name=name: cluster.condition(kind, namespace, name, "Ready"))
        assert condition["reason"] != "InvalidSpec"
