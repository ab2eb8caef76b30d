"""The dependency layers of our images, built by buildah and kept until something in them changes.

For machines without Docker. What is kept goes by the instructions of the Dockerfile, the extra of
pyproject.toml, the compiled parser if one was built, and the versions in constraints.txt of those packages
that are really installed.
"""

import contextlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.base_image import base_image
from testbed.cache import content_key, locked, write_atomically
from testbed.dockerfile import DEPENDENCIES, Dockerfile, normalized, pins
from testbed.image_register import Register
from testbed.long_programs import Shown
from testbed.oci import Image, Layout
from testbed.packages import IMAGE_PROGRAMS, install, missing_packages
from testbed.pip_settings import PipSettings, pip_settings
from testbed.progress import Reporter

BUILD_LINES = 90  # that a build prints, about, for the progress bar
METADATA = r"site-packages/([^/]+)-[^-/]+\.dist-info/METADATA$"


@dataclass(frozen=True)
class Dependencies:
    """The stage `dependencies` of one Dockerfile: found in the cache, or built (a minute)."""

    dockerfile: Dockerfile
    project: Path
    layout: Layout
    reporter: Reporter

    def image(self) -> Image:
        base = base_image(self.layout, self.reporter)
        group, register = f"{self.dockerfile.extra}-dependencies", Register(self.layout)
        key = content_key(self.dockerfile.dependencies_key(self.project), base.name)
        name = f"localhost/modelwarden/{group}:{key}"
        installed = self.layout.folder / "installed" / f"{key}.json"  # packages; known after a build
        lock = self.layout.folder / f".{group}.lock"
        with locked(lock, lambda: self.reporter.say(f"Waiting: another run builds {group} …")):
            if installed.exists() and (found := register.find(group, self._pinned(key, installed), name)):
                return found
            install(missing_packages(IMAGE_PROGRAMS), self.reporter)
            image = self._build(base, name)
            installed.parent.mkdir(exist_ok=True)
            packages = installed_packages(self.layout.path(self.layout.contents(image)[-1]))
            write_atomically(installed, json.dumps(sorted(packages)))
            register.note(group, self._pinned(key, installed), image)
        return image

    def _pinned(self, key: str, installed: Path) -> str:
        """The key, and with it the versions of what is installed: a pin of something else changes nothing."""
        constraints = (self.project / "constraints.txt").read_text()
        return content_key(key, "\n".join(pins(constraints, json.loads(installed.read_text()))))

    def _build(self, base: Image, name: str) -> Image:
        prefix = f"making-{self.dockerfile.extra}-"
        for abandoned in self.layout.folder.glob(f"{prefix}*"):
            shutil.rmtree(abandoned)
        path = self.dockerfile.path.relative_to(self.project)
        with (
            tempfile.TemporaryDirectory(prefix=prefix, dir=self.layout.folder) as temporary,
            self.reporter.step(f"Build the dependencies of {path} (a minute, when they change)") as step,
        ):
            work = Path(temporary)
            # By relative paths: buildah makes a name of the path, and names may hold less than paths.
            _view(self.layout, work / "base", base)
            built = _view(self.layout, work / "built", None)
            # In a mount namespace of its own, so that nothing stays mounted, whatever happens.
            buildah = ["unshare", "--mount", "--fork", "--kill-child"]
            buildah += ["buildah", f"--root={work}/root", f"--runroot={work}/run"]
            shown = Shown(step, BUILD_LINES)
            pulled = shown.run([*buildah, "pull", "--quiet", "oci:base:latest"], folder=work)
            with build_secrets(work, pip_settings()) as secrets:
                bud = [*buildah, "bud", "--isolation=chroot", "--network=host", "--layers=false", *secrets]
                bud += [f"--target={DEPENDENCIES}", f"--tag={name}", f"--file={self.dockerfile.path}"]
                bud += self.dockerfile.build_arguments(self.project)
                shown.run([*bud, f"--build-arg=BASE_IMAGE={pulled}", str(self.project)], folder=work)
            shown.run([*buildah, "push", "--quiet", "--format=oci", name, "oci:built:latest"], folder=work)
            return self.layout.adopt(built / "index.json", name)


def installed_packages(layer: Path) -> set[str]:
    """Python packages in a layer, by the folders that pip leaves."""
    with tarfile.open(layer) as tar:
        found = (
            re.search(r"site-packages/([^/]+)-[^-/]+\.dist-info/METADATA$", name) for name in tar.getnames()
        )
        return {normalized(match[1]) for match in found if match}


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
def build_secrets(folder: Path, settings: PipSettings) -> Iterator[list[str]]:
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
