"""Process 1 of an own node: closes itself off from the machine, then becomes the supervisor.

Run by its path: `python -I -S namespaces.py SPEC.json`. Own process, mount, network, host name, IPC and
cgroup namespaces: when this process ends the kernel ends every process of the node, and with them every
mount, device, route and firewall rule in there. Nothing is left to clean up by hand but cgroup folders.

Must stay one file of the standard library alone, and must not touch anything of the machine outside
the node's own folder, cgroups and namespaces.
"""

import ctypes
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 0x1000, 0x4000, 0x40000, 0x100000

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Hierarchy:
    """A cgroup file system of the machine: where it is, and how it is mounted once more."""

    path: Path
    kind: str  # cgroup or cgroup2
    options: str


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """The cgroup hierarchies in the text of a /proc/PID/mountinfo, those under /sys/fs/cgroup."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, super_options = after.split(" ", 2)
        path = Path(before.split()[4])
        if kind not in ("cgroup", "cgroup2") or not path.is_relative_to("/sys/fs/cgroup"):
            continue
        options = ",".join(each for each in super_options.split(",") if each not in ("rw", "ro"))
        found.append(Hierarchy(path, kind, options if kind == "cgroup" else ""))
    return found


def main() -> NoReturn:
    spec = json.loads(Path(sys.argv[1]).read_text())
    mounted = hierarchies(Path("/proc/self/mountinfo").read_text())
    groups = [each.path / spec["cgroup"] for each in mounted]
    for group in groups:
        (group / "cgroup.procs").write_text("0")  # 0 is the writer
    flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    _check(_libc.unshare(flags), "unshare")
    go_on, told = os.pipe()
    child = os.fork()
    if child:
        # Only here is the number known by which the machine knows the child.
        Path(spec["pid_file"]).write_text(str(child))
        os.close(told)
        os._exit(0)
    os.close(told)
    os.read(go_on, 1)
    become_node(spec, mounted)


def become_node(spec: dict[str, Any], mounted: list[Hierarchy]) -> NoReturn:
    """Mounts, host name and settings of the node, then the supervisor in this process's place."""
    folder = Path(spec["folder"])
    name = spec["hostname"].encode()
    _check(_libc.sethostname(name, len(name)), "sethostname")
    # Apart from the machine, but shared within: pods may ask for mounts to be passed on to them.
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("none", "/", "", MS_REC | MS_SHARED)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount_cgroups(mounted)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    # What programs write into /var/lib by fixed paths (kubelet's sockets, CNI's results) ends here.
    upper, work = Path("/run/var-lib/upper"), Path("/run/var-lib/work")
    upper.mkdir(parents=True)
    work.mkdir()
    mount("overlay", "/var/lib", "overlay", 0, f"lowerdir=/var/lib,upperdir={upper},workdir={work}")
    (folder / "log").mkdir(exist_ok=True)
    mount(str(folder / "log"), "/var/log", "", MS_BIND)
    for setting, value in spec["sysctls"].items():
        Path("/proc/sys", setting.replace(".", "/")).write_text(value)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-u", spec["supervisor"]])


def _mount_cgroups(mounted: list[Hierarchy]) -> None:
    """The machine's hierarchies again, seen from the node's own group: it looks like a root."""
    if [each.kind for each in mounted] != ["cgroup2"] or mounted[0].path != Path("/sys/fs/cgroup"):
        mount("tmpfs", "/sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for each in mounted:
        each.path.mkdir(exist_ok=True)
        mount("cgroup", str(each.path), each.kind, MS_NOSUID | MS_NODEV | MS_NOEXEC, each.options)
        # With cgroup v2 a group that has children with limits may hold no process itself.
        system = each.path / "system"
        system.mkdir(exist_ok=True)
        inherit_cpuset(system)
        (system / "cgroup.procs").write_text("0")


def inherit_cpuset(group: Path) -> None:
    """A new cpuset of cgroup v1 allows no CPU and so takes no process, until it is told which."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file, parent = group / name, group.parent / name
        if file.exists() and parent.exists() and not file.read_text().strip():
            file.write_text(parent.read_text().strip())


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2); raises OSError that names the target."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _check(result, f"mount {kind or source} on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
