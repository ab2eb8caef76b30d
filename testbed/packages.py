"""Programs of the distribution that a node needs: looked for, and on Debian installed.

Installs only what is missing, and says so first.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testbed.cache import cache_folder, locked
from testbed.errors import SetupError
from testbed.progress import Reporter

# Program → Debian package.
NODE_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}
IMAGE_PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux"}
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
CNI_PACKAGE = "containernetworking-plugins"


def missing_packages(programs: Mapping[str, str], *, cni: bool = False) -> list[str]:
    """Debian packages of those programs that are not on PATH."""
    missing = {package for program, package in programs.items() if not shutil.which(program)}
    if cni and cni_plugins() is None:
        missing.add(CNI_PACKAGE)
    return sorted(missing)


def cni_plugins() -> Path | None:
    """The folder with the network plugins we use."""
    for folder in CNI_FOLDERS:
        if all((folder / plugin).exists() for plugin in ("ptp", "host-local")):
            return folder
    return None


def install(packages: list[str], reporter: Reporter) -> None:
    """By apt, without what they recommend. Raises SetupError where that is not possible."""
    if not packages:
        return
    wanted = " ".join(packages)
    if not shutil.which("apt-get"):
        raise SetupError(f"These are missing: {wanted} (Debian's names). Install them and run this again.")
    if os.geteuid() != 0:
        raise SetupError(f"As root run: apt-get install --no-install-recommends {wanted}")
    with locked(cache_folder() / ".apt.lock"), reporter.step(f"Install {wanted}"):
        # RUNLEVEL=1 keeps the packages from starting their daemons on the machine.
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        command = ["apt-get", "install", "--option=DPkg::Lock::Timeout=300", "--yes"]
        command += ["--no-install-recommends", *packages]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if finished.returncode:  # a list of packages months old names files that are gone
            subprocess.run(["apt-get", "update"], env=environment, capture_output=True, check=False)
            finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if finished.returncode:
            said = (finished.stdout + finished.stderr)[-1500:]
            raise SetupError(f"apt-get could not install {wanted}:\n{said}")
