"""Processes known by number and start time; and cgroups, which Linux has, as lists of processes.

A number alone is never trusted: the kernel gives it to another process one day.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from testbed.errors import SetupError
from testbed.namespaces import hierarchies, inherit_cpuset

END_SECONDS = 30.0


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: int | str  # clock ticks since boot; without /proc, as ps says it

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this number now; None if there is none, or only its corpse."""
        if not Path("/proc/self/stat").exists():
            return cls._asked_of_ps(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
        return None if state in "ZX" else cls(pid, int(fields[18]))

    @classmethod
    def _asked_of_ps(cls, pid: int) -> Self | None:
        command = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
        state, _, started = subprocess.run(
            command, capture_output=True, text=True, check=False
        ).stdout.partition(" ")
        return None if not started or state[0] in "ZX" else cls(pid, started.strip())

    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def kill(self) -> None:
        """Ends it now, if it is still the same one."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def cgroups(name: str) -> list[Path]:
    """Where a group of this name is in each hierarchy of the machine, whether it exists or not."""
    return [each.path / name for each in hierarchies(Path("/proc/self/mountinfo").read_text())]


def make_cgroups(name: str) -> None:
    """The group in every hierarchy, able to take processes."""
    found = cgroups(name)
    if not found:
        raise SetupError("No cgroups are mounted under /sys/fs/cgroup; a node cannot run pods without them.")
    for group in found:
        group.parent.mkdir(exist_ok=True)
        for folder in (group.parent, group):
            _offer_controllers(folder.parent)
            folder.mkdir(exist_ok=True)
            inherit_cpuset(folder)


def _offer_controllers(group: Path) -> None:
    """With cgroup v2 a child has only the controllers that its parent passes on."""
    available, passed_on = group / "cgroup.controllers", group / "cgroup.subtree_control"
    if available.exists():
        missing = set(available.read_text().split()) - set(passed_on.read_text().split())
        for controller in sorted(missing):
            with contextlib.suppress(OSError):  # some cannot be passed on; kubelet names one it misses
                passed_on.write_text(f"+{controller}")


def folders_below(group: Path) -> list[Path]:
    """All folders below, each after the one it is in; one that goes meanwhile is left out: kubelet makes and
    removes groups with every pod.
    """
    return [Path(folder) for folder, _, _ in os.walk(group)][1:]


def members(name: str) -> set[int]:
    """Numbers of all processes in the group or below, over all hierarchies."""
    found: set[int] = set()
    for group in cgroups(name):
        for folder in (group, *folders_below(group)):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    return found - {0}


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory the processes take together; what they share is counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def end_members(name: str) -> None:
    """Kills every process of the group, also those that are started meanwhile; returns when they are gone."""
    deadline = time.monotonic() + END_SECONDS
    while left := [process for pid in members(name) if (process := Process.of(pid))]:
        for process in left:
            process.kill()
        if time.monotonic() > deadline:
            raise SetupError(
                f"Processes {sorted(each.pid for each in left)} do not end; they belong to {name}."
            )
        time.sleep(0.02)


def remove_cgroups(name: str) -> None:
    """Removes the group everywhere, and its parent if that is empty then."""
    for group in cgroups(name):
        if not group.is_dir():
            continue
        for folder in (*reversed(folders_below(group)), group):
            _remove_cgroup(folder)
        with contextlib.suppress(OSError):  # another cluster's group is still in there
            group.parent.rmdir()


def _remove_cgroup(folder: Path) -> None:
    """The kernel says busy for a moment after the last process has gone."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
