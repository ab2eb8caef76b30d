"""The census model's user project as YAML: a zip in a ConfigMap, and the Enrichment that explains with it.

    python -m examples.census.bundle | kubectl apply --server-side -f -

What this module must not do: talk to a cluster, or put anything into the archive that has to be unpickled.
"""

import base64
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

from examples.census import data, train

PROJECT = Path(__file__).parent / "project"
NAME = "employment-project"
ENRICHMENT = PROJECT / "explainability.yaml"
FILES = ("entrypoint.py", "requirements.txt")
# The first moment that a zip archive can tell of: the same model gives the same bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def archive(model: train.LinearModel) -> bytes:
    """user_project.zip: the entrypoint, its requirements and the weights, all at the root."""
    kept = {
        "inputs": list(data.INPUTS),
        "age_band_years": train.AGE_BAND_YEARS,
        "intercept": model.intercept,
        "weights": model.weights,
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in FILES:
            zipped.writestr(zipfile.ZipInfo(name, _NO_TIME), (PROJECT / name).read_bytes())
        zipped.writestr(zipfile.ZipInfo("model.json", _NO_TIME), json.dumps(kept, sort_keys=True))
    return made.getvalue()


def manifests(model: train.LinearModel) -> list[dict[str, Any]]:
    """The ConfigMap with the archive, and the Enrichment."""
    zipped = base64.b64encode(archive(model)).decode()
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME},
        "binaryData": {"user_project.zip": zipped},
    }
    return [config, yaml.safe_load(ENRICHMENT.read_text())]


def text(model: train.LinearModel) -> str:
    """Both as YAML."""
    return yaml.safe_dump_all(manifests(model), sort_keys=False)


if __name__ == "__main__":
    from testbed.cache import cache_folder

    sys.stdout.write(text(train.story(cache_folder()).model))
