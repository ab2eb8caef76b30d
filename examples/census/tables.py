"""Finds the folder in which a cell's Delta tables lie: on this machine if the volume is a folder here, else
as a copy.

What this module must not do: change anything in the volume, or in the cluster.
"""

import io
import subprocess
import tarfile
from pathlib import Path

from examples.census.kubectl import Kubectl, KubectlError, kubectl_of
from testbed.cluster import Cluster

STREAM = (
    "import sys, tarfile; tarfile.open(fileobj=sys.stdout.buffer, mode='w|').add('/data/tables', 'tables')"
)
COPY_SECONDS = 120


def tables_folder(cluster: Cluster, namespace: str, model: str, copy_to: Path) -> Path:
    """The folder of the model's tables; streamed out of the store's pod into `copy_to` if the volume is
    elsewhere.
    """
    here = cluster.volume_folder(namespace, f"{model}-data")
    if here is not None and (here / "tables").is_dir():
        return here / "tables"
    return _copied(kubectl_of(cluster), namespace, model, copy_to)


def _copied(kubectl: Kubectl, namespace: str, model: str, copy_to: Path) -> Path:
    command = kubectl.command(
        "exec", "--namespace", namespace, f"deployment/{model}", "--", "python", "-c", STREAM
    )
    done = subprocess.run(command, capture_output=True, timeout=COPY_SECONDS, check=False)
    if done.returncode:
        raise KubectlError(f"the tables could not be copied out of the pod: {done.stderr.decode().strip()}")
    copy_to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(copy_to, filter="data")
    return copy_to / "tables"
