"""A model whose owner speaks HTTP only: reference data uploaded and closed without a ReferenceDataset."""

import json
from collections.abc import Callable

import pyarrow as pa

from examples.census.kubectl import Kubectl, Waiting, condition, wait_for
from modelwarden.client import Cell
from testbed.cluster import Cluster

NAMESPACE = "undeclared-e2e"
NAMESPACES = (NAMESPACE,)
ROWS = 2000


def test_reference_data_closed_over_http_are_profiled_and_compared_with(
    cluster: Cluster, kubectl: Kubectl, new_namespace: Callable[[str], str]
) -> None:
    namespace = new_namespace(NAMESPACE)
    attributes = [
        {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT"},
        {"name": "risk", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "cost"},
        {"name": "cost", "valueType": "FLOAT", "stage": "GROUND_TRUTH", "attributeLink": "risk"},
    ]
    manifest = {
        "apiVersion": "modelwarden.dev/v1alpha1",
        "kind": "MonitoredModel",
        "metadata": {"name": "plain", "namespace": namespace},
        "spec": {"inputType": "TABULAR", "outputType": "REGRESSION", "attributes": attributes},
    }
    kubectl.apply(json.dumps(manifest))
    here = ("-n", namespace)
    kubectl.run("wait", "mmodel/plain", *here, "--for=condition=Ready", "--timeout=300s", seconds=310)
    model_id = (kubectl.get("mmodel", "plain", namespace) or {})["status"]["modelId"]
    key = kubectl.run("get", "secret", "plain-key", *here, "-o", "go-template={{.data.key | base64decode}}")
    frame = pa.table(
        {
            "age": [18 + i % 60 for i in range(ROWS)],
            "risk": [i / ROWS for i in range(ROWS)],
            "cost": [float(i % 7) for i in range(ROWS)],
        }
    )
    with Cell(cluster.reach(namespace, "plain", 8080), key, model_id) as cell:
        cell.upload_reference(frame)
        cell.close_reference(ROWS)

        def loaded() -> tuple[bool, str]:
            return condition(kubectl.get("mmodel", "plain", namespace), "ReferenceLoaded")

        wait_for("the reference is in use", loaded, Waiting(200))
        assert cell.status()["activeReference"] == "default"
    kubectl.run("delete", "mmodel", "plain", *here, "--timeout=300s", seconds=310)
