"""A pool of local volumes: folders of the machine that claims bind to, emptied and offered again.

What a cloud's provisioner does, on folders: a volume whose claim is gone is Released, emptied,
deleted and made anew. Runs as a program of the node: `python -m testbed.volumes FOLDER NODE URL`.
It must never follow a path that a volume's object names: only its own list of folders is emptied.
"""

import contextlib
import http.client
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from testbed.api_client import ApiClient, ApiError
from testbed.node_config import PROVISIONER, STORAGE_CLASS

# Smallest first is how the binder picks; a claim gets the smallest that is large enough.
POOL = {"10Gi": 12, "20Gi": 8, "100Gi": 4}
POLL_SECONDS = 2.0
PATH = "/api/v1/persistentvolumes"


def pool() -> dict[str, str]:
    """Name of each volume → its size."""
    sizes = [size for size, count in POOL.items() for _ in range(count)]
    return {f"local-{number:02}": size for number, size in enumerate(sizes, 1)}


def storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }


def persistent_volume(name: str, size: str, folder: Path, node: str) -> dict[str, Any]:
    """One of the pool, over its folder on this node."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        # The annotation tells the controller manager that deleting is somebody else's work: ours.
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(folder / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def make_pool(client: ApiClient, folder: Path, node: str) -> None:
    """Makes folders and objects of the pool that are not there."""
    present = {each["metadata"]["name"] for each in client.get(PATH)["items"]}
    for name, size in pool().items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        if name not in present:
            # Gone for a moment only: its last deletion may not be through yet.
            with contextlib.suppress(ApiError):
                client.request("POST", PATH, persistent_volume(name, size, folder, node))


def recycle(client: ApiClient, folder: Path, node: str) -> list[str]:
    """Empties volumes whose claims are gone and offers them again; gives their names."""
    released = []
    ours = pool()
    for volume in client.get(PATH)["items"]:
        name, phase = volume["metadata"]["name"], volume["status"].get("phase")
        policy = volume["spec"]["persistentVolumeReclaimPolicy"]
        if name in ours and phase in ("Released", "Failed") and policy == "Delete":
            empty(folder / name)
            client.request("DELETE", f"{PATH}/{name}")
            released.append(name)
    make_pool(client, folder, node)
    return released


def empty(folder: Path) -> None:
    """Removes what is in the folder and takes its owner and mode back."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    folder.chmod(0o755)
    shutil.chown(folder, 0, 0)


def main() -> None:
    folder, node, url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    client = ApiClient.of_administrator(url, folder / "certificates")
    while True:
        try:
            for name in recycle(client, folder / "volumes", node):
                print(f"{name}: emptied and offered again", flush=True)
        except (OSError, http.client.HTTPException, ApiError) as error:
            print(f"will try again: {error}", flush=True)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
