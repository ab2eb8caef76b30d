"""A Debian with Python as an image, for machines that can pull none: made once by debootstrap. Needs root."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from testbed.cache import cache_folder, content_key, locked
from testbed.image_register import Register
from testbed.long_programs import Shown
from testbed.oci import Blob, Image, Layout, empty_config
from testbed.packages import IMAGE_PROGRAMS, install, missing_packages
from testbed.progress import Reporter

RELEASE = "bookworm"
INCLUDE = "python3,python3-venv,ca-certificates"
RECIPE = "1"  # raise it when what is done to the folder changes
DEBOOTSTRAP_LINES = 480  # that it prints, about, for the progress bar
WORK = "making-base-"
LEAVE_OUT = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*")
LEAVE_OUT_DOCUMENTS = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*")


def base_image(layout: Layout, reporter: Reporter) -> Image:
    """The image, from the cache or made now (about a minute)."""
    key = content_key(RELEASE, INCLUDE, RECIPE, platform.machine())
    name = f"localhost/modelwarden/base:{key}"
    register = Register(layout)
    with locked(
        cache_folder() / "images" / ".base.lock",
        lambda: reporter.say("Waiting: another run makes the base image …"),
    ):
        if found := register.find("base", key, name):
            return found
        install(missing_packages(IMAGE_PROGRAMS), reporter)
        for abandoned in layout.folder.glob(f"{WORK}*"):
            shutil.rmtree(abandoned)
        with (
            reporter.step("Make a base image with debootstrap (a minute, once)") as step,
            tempfile.TemporaryDirectory(prefix=WORK, dir=layout.folder) as folder,
        ):
            root = Path(folder) / "root"
            # A mount namespace of its own: what debootstrap mounts is gone with it, even if it is killed.
            command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap"]
            command += ["--variant=minbase", f"--include={INCLUDE}", RELEASE, str(root), *own_mirror()]
            Shown(step, DEBOOTSTRAP_LINES).run(command)
            image = layout.write_image(name, empty_config(), [_layer(layout, root)])
        register.note("base", key, image)
    return image


def _layer(layout: Layout, root: Path) -> Blob:
    """The folder as a layer, without what an image has no use for."""
    command = ["tar", "--create", "--numeric-owner", "--xattrs", f"--directory={root}"]
    command += [f"--exclude={each}" for each in (*LEAVE_OUT, *LEAVE_OUT_DOCUMENTS)]

    def fill(file: IO[bytes]) -> None:
        subprocess.run([*command, "."], stdout=file, check=True)
        file.seek(0, os.SEEK_END)

    return layout.write_layer(fill)


def own_mirror() -> list[str]:
    """The one this machine's apt uses, so that it can be reached; else debootstrap takes Debian's own."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if path.is_file():
            for line in path.read_text().splitlines():
                found = re.match(r"(?:URIs:|deb(?:\s+\[[^]]*\])?)\s+(https?://\S+)", line)
                if found and not found[1].rstrip("/").endswith("-security"):
                    return [found[1]]
    return []
