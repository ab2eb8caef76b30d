"""Builds the operator's and the cell's image: dependencies seldom, our code in a thin layer over them.

Without Docker, buildah builds the Dockerfile's stage `dependencies` (kept by the hash of what goes into
it), and the last stage, which only copies, is written here as one layer: the same files give the same
tag, and a change of code takes less than a second. With Docker, `docker build` does all of it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed import binaries
from testbed.cache import cache_folder, content_key
from testbed.dependencies import BUILD_LINES, Dependencies, build_secrets
from testbed.dockerfile import Dockerfile, code_files, parse
from testbed.image_register import Register
from testbed.long_programs import Shown
from testbed.oci import EPOCH, Image, Layout, write_archive, write_files
from testbed.orders import Orders
from testbed.pip_settings import pip_settings
from testbed.progress import Reporter

PROJECT = Path(__file__).parent.parent
Which = Literal["operator", "model-server"]
DOCKERFILES: dict[Which, str] = {
    "operator": "operator/Dockerfile",
    "model-server": "model-server-image/Dockerfile",
}


@dataclass(frozen=True)
class ImageRef:
    """An image that was built. `name` is repository and tag, and the tag is the hash of the content.

    `image` is None when Docker built it and keeps it.
    """

    repository: str
    tag: str
    image: Image | None

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def layout(self) -> Layout:
        return image_layout()

    @contextlib.contextmanager
    def archived(self) -> Iterator[Path]:
        """All of it in one file, for whoever cannot take less; gone when the block ends."""
        with tempfile.TemporaryDirectory(prefix="modelwarden-image-") as folder:
            path = Path(folder) / f"{self.tag}.tar"
            if self.image is None:
                subprocess.run(["docker", "save", "--output", str(path), self.name], check=True)
            else:
                with path.open("wb") as file:
                    write_archive(file, self.layout, self.image)
            yield path


def image_layout() -> Layout:
    """Where all images of this machine's testbed are."""
    return Layout(cache_folder() / "images")


def build(which: Which, reporter: Reporter, project: Path = PROJECT) -> ImageRef:
    """The image of the code as it is now; built as far as it must be."""
    dockerfile = parse(project / DOCKERFILES[which])
    repository = f"localhost/modelwarden/{which}"
    files = code_files(project, dockerfile.copies)
    code = content_key(
        *(part for name, (content, mode) in sorted(files.items()) for part in (name, content, str(mode)))
    )
    if docker_works():
        return _docker_build(repository, dockerfile, code, project, reporter)
    layout = image_layout()
    dependencies = Dependencies(dockerfile, project, layout, reporter).image()
    config = layout.read(layout.contents(dependencies)[1])
    layers = layout.contents(dependencies)[2:]
    config["history"] = [*config.get("history", []), {"created": EPOCH, "created_by": "COPY our code"}]
    config["created"] = EPOCH
    layer = layout.write_layer(lambda file: write_files(file, files))
    tag = content_key(dependencies.manifest.digest, code)
    image = layout.write_image(f"{repository}:{tag}", config, [*layers, layer])
    Register(layout).note(which, tag, image)
    return ImageRef(repository, tag, image)


@contextlib.contextmanager
def built_meanwhile(reporter: Reporter) -> Iterator[None]:
    """Builds both images in a process of its own while the block waits for Kubernetes to be built.

    Saves minutes on a new machine: one is mostly the compiler, the other mostly the network. Does nothing
    where Kubernetes is built already. What goes wrong in there is left for `build` to meet and to say.
    """
    if docker_works() or not shutil.which("go") or binaries.is_built():
        yield
        return
    log = cache_folder() / "images" / "built-meanwhile.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Orders()) as orders:
        environment = {"PYTHONPATH": str(PROJECT)}
        orders.start("images", [sys.executable, "-m", "testbed", "images"], log, environment=environment)
        yield
        with reporter.step("Wait for the images, which were built meanwhile"):
            while orders.state()["images"] is None:
                time.sleep(0.2)


def docker_works() -> bool:
    """Whether there is a Docker engine that answers."""
    if not shutil.which("docker"):
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _docker_build(
    repository: str, dockerfile: Dockerfile, code: str, project: Path, reporter: Reporter
) -> ImageRef:
    base = os.environ.get("BASE_IMAGE", "")
    versions = project / "constraints.txt"
    ref = ImageRef(repository, content_key(dockerfile.dependencies_key(project), versions, base, code), None)
    with tempfile.TemporaryDirectory() as folder, build_secrets(Path(folder), pip_settings()) as secrets:
        # docker build cannot mount folders; wheels lying about on this machine are left out.
        command = ["docker", "build", "--progress=plain", f"--file={dockerfile.path}", f"--tag={ref.name}"]
        command += [each for each in secrets if each.startswith("--secret")]
        command += [f"--build-arg=BASE_IMAGE={base}"] if base else []
        command += dockerfile.build_arguments(project)
        with reporter.step(f"docker build {dockerfile.path.relative_to(project)}") as step:
            Shown(step, BUILD_LINES).run([*command, str(project)])
    return ref
