"""Builds the operator's and the cell's image: dependencies seldom, our code in a thin layer over them.

Without Docker, buildah builds the Dockerfile's stage `dependencies` (kept by the hash of what goes into
it), and the last stage, which only copies, is written here as one layer: the same files give the same
tag, and a change of code takes less than a second. With Docker, `docker build` does all of it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed.base_image import base_image
from testbed.cache import cache_folder, content_key, locked
from testbed.dockerfile import DEPENDENCIES, Dockerfile, code_files, parse
from testbed.image_register import Register
from testbed.long_programs import Shown
from testbed.oci import EPOCH, Image, Layout, write_archive, write_files
from testbed.packages import IMAGE_PROGRAMS, install, missing_packages
from testbed.pip_settings import PipSettings, pip_settings
from testbed.progress import Reporter

PROJECT = Path(__file__).parent.parent
Which = Literal["operator", "model-server"]
DOCKERFILES: dict[Which, str] = {
    "operator": "operator/Dockerfile",
    "model-server": "model-server-image/Dockerfile",
}
BUILD_LINES = 90  # that a build prints, about, for the progress bar


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
    dependencies = _dependencies(dockerfile, layout, project, reporter)
    config = layout.read(layout.contents(dependencies)[1])
    layers = layout.contents(dependencies)[2:]
    config["history"] = [*config.get("history", []), {"created": EPOCH, "created_by": "COPY our code"}]
    config["created"] = EPOCH
    layer = layout.write_layer(lambda file: write_files(file, files))
    tag = content_key(dependencies.manifest.digest, code)
    image = layout.write_image(f"{repository}:{tag}", config, [*layers, layer])
    Register(layout).note(which, tag, image)
    return ImageRef(repository, tag, image)


def docker_works() -> bool:
    """Whether there is a Docker engine that answers."""
    if not shutil.which("docker"):
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _dependencies(dockerfile: Dockerfile, layout: Layout, project: Path, reporter: Reporter) -> Image:
    """The image of the stage `dependencies`, from the cache or built now (a minute)."""
    base = base_image(layout, reporter)
    key = content_key(dockerfile.dependencies_key(project), base.name)
    name = f"localhost/modelwarden/{dockerfile.extra}-dependencies:{key}"
    group, register = f"{dockerfile.extra}-dependencies", Register(layout)
    with locked(
        layout.folder / f".{dockerfile.extra}.lock",
        lambda: reporter.say(f"Waiting: another run builds {name} …"),
    ):
        if found := register.find(group, key, name):
            return found
        install(missing_packages(IMAGE_PROGRAMS), reporter)
        image = _buildah(dockerfile, base, name, layout, project, reporter)
        register.note(group, key, image)
    return image


def _buildah(
    dockerfile: Dockerfile, base: Image, name: str, layout: Layout, project: Path, reporter: Reporter
) -> Image:
    title = f"Build the dependencies of {dockerfile.path.relative_to(project)} (a minute, when they change)"
    prefix = f"making-{dockerfile.extra}-"
    for abandoned in layout.folder.glob(f"{prefix}*"):
        shutil.rmtree(abandoned)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=layout.folder) as temporary,
        reporter.step(title) as step,
    ):
        work = Path(temporary)
        # By relative paths: buildah makes a name of the path, and names may hold less than paths.
        _view(layout, work / "base", base)
        built = _view(layout, work / "built", None)
        # In a mount namespace of its own, so that nothing stays mounted, whatever happens.
        buildah = ["unshare", "--mount", "--fork", "--kill-child"]
        buildah += ["buildah", f"--root={work}/root", f"--runroot={work}/run"]
        shown = Shown(step, BUILD_LINES)
        pulled = shown.run([*buildah, "pull", "--quiet", "oci:base:latest"], folder=work)
        with _secrets(work, pip_settings()) as secrets:
            bud = [*buildah, "bud", "--isolation=chroot", "--network=host", "--layers=false", *secrets]
            bud += [f"--target={DEPENDENCIES}", f"--tag={name}", f"--file={dockerfile.path}"]
            shown.run([*bud, f"--build-arg=BASE_IMAGE={pulled}", str(project)], folder=work)
        shown.run([*buildah, "push", "--quiet", "--format=oci", name, "oci:built:latest"], folder=work)
        return layout.adopt(built / "index.json", name)


def _view(layout: Layout, folder: Path, image: Image | None) -> Path:
    """A layout of one image (or none yet) that shares its blobs with the large one."""
    folder.mkdir()
    (folder / "blobs").symlink_to(layout.folder / "blobs")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    manifests = []
    if image:
        annotations = {"org.opencontainers.image.ref.name": "latest"}
        manifests.append(image.manifest.descriptor() | {"annotations": annotations})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return folder


@contextlib.contextmanager
def _secrets(folder: Path, settings: PipSettings) -> Iterator[list[str]]:
    """Arguments that hand pip's settings to a build, for buildah and Docker alike."""
    config = folder / "pip.conf"
    config.touch(0o600)
    config.write_text(settings.config)
    arguments = [f"--secret=id=pip.conf,src={config}"]
    if settings.certificates:
        arguments.append(f"--secret=id=ca.pem,src={settings.certificates}")
    arguments += [f"--volume={here}:{there}:ro" for here, there in settings.mounts]
    try:
        yield arguments
    finally:
        config.unlink()


def _docker_build(
    repository: str, dockerfile: Dockerfile, code: str, project: Path, reporter: Reporter
) -> ImageRef:
    base = os.environ.get("BASE_IMAGE", "")
    ref = ImageRef(repository, content_key(dockerfile.dependencies_key(project), base, code), None)
    with tempfile.TemporaryDirectory() as folder, _secrets(Path(folder), pip_settings()) as secrets:
        # docker build cannot mount folders; wheels lying about on this machine are left out.
        command = ["docker", "build", "--progress=plain", f"--file={dockerfile.path}", f"--tag={ref.name}"]
        command += [each for each in secrets if each.startswith("--secret")]
        command += [f"--build-arg=BASE_IMAGE={base}"] if base else []
        with reporter.step(f"docker build {dockerfile.path.relative_to(project)}") as step:
            Shown(step, BUILD_LINES).run([*command, str(project)])
    return ref
