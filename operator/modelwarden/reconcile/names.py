"""Names and labels of everything the operator makes. Pure.

A child carries our own labels and no label of its parent: GitOps tools would adopt, and prune, a child that
carries theirs.
"""

from modelwarden.resources.meta import GROUP, LABEL_MODEL, LABEL_REFERENCE_DATASET

ANNOTATION_MODEL_ID = f"{GROUP}/model-id"
ANNOTATION_IDENTITY = f"{GROUP}/identity-hash"
ANNOTATION_KEY_HASH = f"{GROUP}/key-hash"
LABEL_CONFIG = f"{GROUP}/config"
LABEL_PURPOSE = f"{GROUP}/purpose"
LABEL_COMPONENT = "app.kubernetes.io/component"
STORE = "store"
JOB = "job"
CELL_PORT = 8080

Labels = dict[str, str]


def key_secret(model: str) -> str:
    return f"{model}-key"


def identity_config(model: str, identity_hash: str) -> str:
    return f"{model}-identity-{identity_hash}"


def settings_config(model: str) -> str:
    return f"{model}-settings"


def data_claim(model: str) -> str:
    return f"{model}-data"


def profile_job(dataset: str, input_hash: str) -> str:
    return f"{dataset}-profile-{input_hash}"


def load_job(dataset: str, source_hash: str) -> str:
    return f"{dataset}-load-{source_hash[:10]}"


def load_policy(dataset: str) -> str:
    return f"{dataset}-load"


def undeclared_profile_job(model: str, input_hash: str) -> str:
    """Short, so that the longest model name still gives a name that a Job may have (63)."""
    return f"{model}-ref-{input_hash[:8]}"


def pod_selector(model: str, component: str = STORE) -> Labels:
    """What selects the pods of one component of a cell. A Deployment's selector can never change: keep it."""
    return {LABEL_MODEL: model, LABEL_COMPONENT: component}


def child_labels(model: str, component: str = STORE) -> Labels:
    """The labels of every child of a model."""
    return pod_selector(model, component) | {
        "app.kubernetes.io/name": "modelwarden-cell",
        "app.kubernetes.io/managed-by": "modelwarden",
    }


def dataset_labels(model: str, dataset: str) -> Labels:
    """The labels of what is made for a reference dataset."""
    return child_labels(model, JOB) | {LABEL_REFERENCE_DATASET: dataset}


def selecting(labels: Labels) -> str:
    """A label selector as the API server takes it."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
