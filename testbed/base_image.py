"""A Debian with Python as an image, for machines that can pull none: made once by debootstrap. Needs root."""

import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from testbed.cache import cache_folder, content_key, locked, write_atomically
from testbed.errors import SetupError
from testbed.oci import Blob, Image, Layout, empty_config
from testbed.packages import IMAGE_PROGRAMS, install, missing_packages
from testbed.progress import Reporter

RELEASE = "bookworm"
INCLUDE = "python3,python3-venv,ca-certificates"
RECIPE = "1"  # raise it when what is done to the folder changes
PACKAGES_EXPECTED = 2 * 110  # lines of debootstrap about packages, for the progress bar
LEAVE_OUT = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*")
LEAVE_OUT_DOCUMENTS = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*")


def base_image(layout: Layout, reporter: Reporter) -> Image:
    """The image, from the cache or made now (about a minute)."""
    key = content_key(RELEASE, INCLUDE, RECIPE, platform.machine())
    name = f"localhost/modelwarden/base:{key}"
    entry = layout.folder / "base" / f"{key}.json"
    with locked(
        cache_folder() / "images" / ".base.lock",
        lambda: reporter.say("Waiting: another run makes the base image …"),
    ):
        if entry.exists():
            image = Image(name, Blob.described(json.loads(entry.read_text())))
            if layout.holds(image):
                return image
        install(missing_packages(IMAGE_PROGRAMS), reporter)
        with reporter.step("Make a base image with debootstrap (a minute, once)") as step:
            with tempfile.TemporaryDirectory(prefix="modelwarden-base-", dir=layout.folder) as folder:
                _debootstrap(
                    Path(folder) / "root",
                    lambda done, what: step.advance(min(done, PACKAGES_EXPECTED), PACKAGES_EXPECTED, what),
                )
                image = layout.write_image(name, empty_config(), [_layer(layout, Path(folder) / "root")])
        entry.parent.mkdir(exist_ok=True)
        write_atomically(entry, json.dumps(image.manifest.descriptor()))
    return image


def _debootstrap(root: Path, progress: Callable[[int, str], None]) -> None:
    # A mount namespace of its own: what debootstrap mounts is gone with it, even if it is killed.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "debootstrap", "--variant=minbase"]
    command += [f"--include={INCLUDE}", RELEASE, str(root), debian_mirror()]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            progress(len(lines), line.strip())
    if process.returncode:
        raise SetupError("debootstrap failed:\n" + "".join(lines[-12:]))


def _layer(layout: Layout, root: Path) -> Blob:
    """The folder as a layer, without what an image has no use for."""
    command = ["tar", "--create", "--numeric-owner", "--xattrs", f"--directory={root}"]
    command += [f"--exclude={each}" for each in (*LEAVE_OUT, *LEAVE_OUT_DOCUMENTS)]

    def fill(file: IO[bytes]) -> None:
        subprocess.run([*command, "."], stdout=file, check=True)
        file.seek(0, os.SEEK_END)

    return layout.write_layer(fill)


def debian_mirror() -> str:
    """The one this machine's apt uses, so that it can be reached; else Debian's own."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if path.is_file():
            for line in path.read_text().splitlines():
                found = re.match(r"(?:URIs:|deb(?:\s+\[[^]]*\])?)\s+(https?://\S+)", line)
                if found and not found[1].rstrip("/").endswith("-security"):
                    return found[1]
    return "http://deb.debian.org/debian"
