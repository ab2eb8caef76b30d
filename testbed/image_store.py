"""The images a node has: imported into containerd, and kept from one cluster to the next.

Unpacking a layer of 400 MB takes half a minute, so a cluster that goes leaves its store in the cache and
the next one takes it. What the last one's pods left in there is removed before kubelet can see it.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed.cache import cache_folder
from testbed.errors import SetupError
from testbed.node_config import SANDBOX
from testbed.oci import Image, Layout, write_archive

NAMESPACE = "k8s.io"  # where kubelet's images are


def kept_store() -> Path:
    return cache_folder() / "node" / "containerd"


def take_store(folder: Path) -> bool:
    """Moves the kept store to `folder`; False if there is none (or another cluster has it)."""
    try:
        kept_store().rename(folder)
    except OSError:
        return False
    return True


def keep_store(folder: Path) -> None:
    """Keeps the store of a cluster that has ended, unless one with more in it is kept already."""
    if not folder.is_dir():
        return
    kept_store().parent.mkdir(parents=True, exist_ok=True)
    if kept_store().exists():
        if _content_bytes(folder) <= _content_bytes(kept_store()):
            return
        shutil.rmtree(kept_store())
    folder.rename(kept_store())


def _content_bytes(store: Path) -> int:
    blobs = store / "io.containerd.content.v1.content" / "blobs" / "sha256"
    return sum(blob.stat().st_size for blob in blobs.glob("*"))


class ImageStore:
    """containerd of a running node, spoken to through its own `ctr` inside the node's mounts."""

    def __init__(self, init: int) -> None:
        self._prefix = ["nsenter", f"--target={init}", "--mount", "ctr", f"--address={SANDBOX}"]
        self._prefix += [f"--namespace={NAMESPACE}"]

    def answers(self) -> bool:
        """Whether containerd takes requests."""
        return self._run("version").returncode == 0

    def forget_pods(self) -> None:
        """Removes every container, with its file system."""
        if left := self._lines("containers", "ls", "--quiet"):
            self._checked("containers", "rm", *left)

    def images(self) -> set[str]:
        """Names of all images."""
        return set(self._lines("images", "ls", "--quiet"))

    def remove(self, names: Sequence[str]) -> None:
        """Removes names; the layers nobody else uses go with them."""
        if names:
            self._checked("images", "rm", *names)

    def load(self, layout: Layout, image: Image) -> int:
        """Imports an image; sends only what the node has not. Gives the bytes sent."""
        present = set(self._lines("content", "ls", "--quiet"))
        command = [*self._prefix, "images", "import", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                sent = write_archive(process.stdin, layout, image, present)
                process.stdin.close()
            except BrokenPipeError:
                sent = 0
            said = process.stdout.read().decode(errors="replace")
        if process.returncode:
            raise SetupError(f"The node could not import {image.name}:\n{said[-1500:]}")
        return sent

    def load_archive(self, archive: Path) -> None:
        """Imports an archive made by Docker, buildah or skopeo."""
        with archive.open("rb") as file:
            command = [*self._prefix, "images", "import", "-"]
            finished = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SetupError(f"The node could not import {archive}:\n{finished.stderr[-1500:]}")

    def _lines(self, *arguments: str) -> list[str]:
        return self._checked(*arguments).split()

    def _checked(self, *arguments: str) -> str:
        finished = self._run(*arguments)
        if finished.returncode:
            raise SetupError(f"`ctr {' '.join(arguments[:2])}` failed on the node: {finished.stderr.strip()}")
        return finished.stdout

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._prefix, *arguments], capture_output=True, text=True, check=False, timeout=120
        )
