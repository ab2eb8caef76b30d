"""Names and labels of everything the operator makes. Pure.

A child carries our own labels and no label of its parent: GitOps tools would adopt, and prune, a child that
carries theirs.
"""

import hashlib

from modelwarden.resources.meta import GROUP, LABEL_MODEL, LABEL_REFERENCE_DATASET
from modelwarden.resources.purposes import ASSETS, ENVIRONMENT, TRAIN

ANNOTATION_MODEL_ID = f"{GROUP}/model-id"
ANNOTATION_IDENTITY = f"{GROUP}/identity-hash"
ANNOTATION_KEY_HASH = f"{GROUP}/key-hash"
ANNOTATION_SETTINGS = f"{GROUP}/settings-hash"
ANNOTATION_INPUT = f"{GROUP}/input-hash"
ANNOTATION_ROUND = f"{GROUP}/round"
ANNOTATION_DECLARED = f"{GROUP}/declared"
LABEL_CONFIG = f"{GROUP}/config"
LABEL_PURPOSE = f"{GROUP}/purpose"
LABEL_TRAINS = f"{GROUP}/trains"
LABEL_SLOT = f"{GROUP}/slot"
LABEL_COMPONENT = "app.kubernetes.io/component"
STORE = "store"
SERVER = "server"
JOB = "job"
CELL_PORT = 8080
_LONGEST_JOB = 63  # its name is the value of a label on its pods

Labels = dict[str, str]


def key_secret(model: str) -> str:
    return f"{model}-key"


def identity_config(model: str, identity_hash: str) -> str:
    return f"{model}-identity-{identity_hash}"


def settings_config(model: str) -> str:
    return f"{model}-settings"


def data_claim(model: str) -> str:
    return f"{model}-data"


def server_name(model: str) -> str:
    """Of everything that the model's server has one of. No model's name ends so."""
    return f"{model}-{SERVER}"


def assets_policy(model: str) -> str:
    return f"{server_name(model)}-{ASSETS}"


def environment_policy(model: str) -> str:
    return f"{server_name(model)}-{ENVIRONMENT}"


def profile_job(dataset: str, content_hash: str) -> str:
    """Named by its input: another content is another Job."""
    return f"{dataset}-profile-{content_hash[:10]}"


def load_job(dataset: str, source_hash: str) -> str:
    return f"{dataset}-load-{source_hash[:10]}"


def load_policy(dataset: str) -> str:
    return f"{dataset}-load"


def undeclared_profile_job(model: str, input_hash: str) -> str:
    """Short, so that the longest model name still gives a name that a Job may have (63)."""
    return f"{model}-ref-{input_hash[:8]}"


def train_job(model: str, kind: str, input_hash: str) -> str:
    return _job(model, f"{TRAIN}-{kind}", input_hash)


def asset_job(model: str, slot: str, source_hash: str) -> str:
    return _job(model, f"{ASSETS}-{slot}", source_hash)


def environment_job(model: str, environment_hash: str) -> str:
    return _job(model, ENVIRONMENT, environment_hash)


def _job(model: str, what: str, input_hash: str) -> str:
    """A name too long for a Job gives up its middle for a hash of the model's name."""
    rest = f"-{what}-{input_hash[:8]}"
    if len(model + rest) <= _LONGEST_JOB:
        return model + rest
    mark = f"-{hashlib.sha256(model.encode()).hexdigest()[:6]}"
    return model[: _LONGEST_JOB - len(mark + rest)].rstrip("-") + mark + rest


def pod_selector(model: str, component: str = STORE) -> Labels:
    """What selects the pods of one component of a cell. A Deployment's selector can never change: keep it."""
    return {LABEL_MODEL: model, LABEL_COMPONENT: component}


def running_pods(model: str) -> str:
    """What selects the pods of store and server."""
    return f"{LABEL_MODEL}={model},{LABEL_COMPONENT} in ({SERVER},{STORE})"


def child_labels(model: str, component: str = STORE) -> Labels:
    """The labels of every child of a model."""
    return pod_selector(model, component) | {
        "app.kubernetes.io/name": "modelwarden-cell",
        "app.kubernetes.io/managed-by": "modelwarden",
    }


def dataset_labels(model: str, dataset: str) -> Labels:
    """The labels of what is made for a reference dataset."""
    return child_labels(model, JOB) | {LABEL_REFERENCE_DATASET: dataset}


def training_labels(model: str) -> Labels:
    """The labels of every training Job of a model, and of its pods."""
    return errand_labels(model, TRAIN)


def errand_labels(model: str, purpose: str) -> Labels:
    """The labels of every Job that a model has for a purpose of its store's, and of its pods."""
    return child_labels(model, JOB) | {LABEL_PURPOSE: purpose}


def errands_of(model: str) -> str:
    """What selects all these Jobs, and their pods."""
    return f"{selecting(child_labels(model, JOB))},{LABEL_PURPOSE} in ({ASSETS},{ENVIRONMENT},{TRAIN})"


def selecting(labels: Labels) -> str:
    """A label selector as the API server takes it."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
