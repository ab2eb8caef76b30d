"""An own node: a whole Kubernetes in namespaces of its own, on a Linux machine without Docker. Needs root.

Finds it, has it started (node_start.py), removes it. All three are safe to repeat and to interrupt: what is
to be undone is written down before it is done.
"""

import os
import shutil
import sys
from pathlib import Path

from testbed.api_client import ApiError, wait_until
from testbed.binaries import kubernetes
from testbed.cache import locked
from testbed.errors import SetupError
from testbed.image_store import keep_store
from testbed.network import (
    NodeNetwork,
    choose_slot,
    disconnect,
    disconnect_unknown,
    routed_networks,
    set_forwarding,
)
from testbed.node_start import NodeStart, client_of, node_ready
from testbed.packages import NODE_PROGRAMS, install, missing_packages
from testbed.processes import end_members, remove_cgroups
from testbed.progress import Reporter
from testbed.record import Record, all_records, clusters_folder, read_record

PATIENCE_SECONDS = 120.0
MACHINE_LOCK = ".machine.lock"  # who holds it may choose a slot and change the machine's forwarding


def is_healthy(record: Record) -> bool:
    """Whether the cluster runs and its node takes pods."""
    if not record.ready or record.init is None or not record.init.alive():
        return False
    try:
        return client_of(record).is_ready() and node_ready(record)
    except (OSError, ApiError):
        return False


def _becomes_healthy(record: Record, reporter: Reporter) -> bool:
    """Healthy now, or within two minutes if it runs: a busy machine is no reason to throw it away."""
    if is_healthy(record):
        return True
    if not record.ready or record.init is None or not record.init.alive():
        return False
    reporter.say(
        f"Cluster {record.name} runs but does not answer yet; waiting up to {PATIENCE_SECONDS:.0f} s …"
    )
    try:
        wait_until(lambda: is_healthy(record), PATIENCE_SECONDS, lambda: "", pause=0.5)
    except SetupError:
        return False
    return True


def start(name: str, reporter: Reporter) -> Record:
    """The cluster of this name, running and healthy; found, or made (anew, if it is not healthy)."""
    with locked(
        clusters_folder() / f".{name}.lock", lambda: reporter.say(f"Waiting: another run holds {name} …")
    ):
        record = read_record(name)
        if record and _becomes_healthy(record, reporter):
            return record
        install(missing_packages(NODE_PROGRAMS, cni=True), reporter)
        programs = kubernetes(reporter)
        if (clusters_folder() / name).exists():
            reporter.say(f"Cluster {name} is not healthy: it is removed and made anew.")
            _remove(name)
        with reporter.step(f"Start cluster {name}") as step:
            return NodeStart(_begin(name, programs), step).run()


def remove(name: str, reporter: Reporter) -> bool:
    """Ends the cluster and removes every trace of it; False if there was none."""
    with locked(
        clusters_folder() / f".{name}.lock", lambda: reporter.say(f"Waiting: another run holds {name} …")
    ):
        if not (clusters_folder() / name).exists():
            return False
        with reporter.step(f"Remove cluster {name}"):
            _remove(name)
        return True


def _begin(name: str, programs: Path) -> Record:
    """Chooses a slot and writes it down, so that whatever comes after can be undone."""
    with locked(clusters_folder() / MACHINE_LOCK):
        taken = {other.slot for other in all_records()}
        record = Record(name, choose_slot(name, taken, routed_networks()), str(programs))
        record.write()
        before = clusters_folder() / "forwarding-before"
        if not before.exists():
            before.write_text(str(int(set_forwarding(True))))
        set_forwarding(True)
    return record


def _remove(name: str) -> None:
    """Everything there is follows from the name and the slot; what is not there is passed over."""
    record = read_record(name)
    cgroup = f"modelwarden/{name}"
    if record and record.init:
        record.init.kill()
    end_members(cgroup)
    if record:
        disconnect(NodeNetwork(record.slot))
    remove_cgroups(cgroup)
    folder = clusters_folder() / name
    with locked(clusters_folder() / MACHINE_LOCK):
        keep_store(folder / "containerd")
        shutil.rmtree(folder)
        disconnect_unknown({other.slot for other in all_records()})
        before = clusters_folder() / "forwarding-before"
        if not all_records() and before.exists():
            set_forwarding(before.read_text() == "1")
            before.unlink()


def missing_for_node() -> str | None:
    """Why this machine cannot have an own node; None if it can."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if os.geteuid() != 0:
        return "this is not root"
    return None
