"""The README's first model: its YAML and its commands, run as they stand, must end as it says."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.census.kubectl import Kubectl, KubectlError, Waiting, wait_for
from testbed.cluster import Cluster

README = Path(__file__).parent.parent.parent / "README.md"
NAMESPACE = "readme-e2e"
NAMESPACES = (NAMESPACE,)


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of a language under a heading."""
    section = README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def in_namespace(
    cluster: Cluster, kubectl: Kubectl, new_namespace: Callable[[str], str], tmp_path: Path
) -> Iterator[dict[str, str]]:
    """An environment whose kubectl is the cluster's, in a namespace of its own."""
    namespace = new_namespace(NAMESPACE)
    kubeconfig = tmp_path / "kubeconfig"
    shutil.copy(cluster.kubeconfig, kubeconfig)
    environ = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{cluster.programs}:{os.environ['PATH']}",
    }
    setting = ["kubectl", "config", "set-context", "--current", f"--namespace={namespace}"]
    subprocess.run(setting, env=environ, check=True, capture_output=True, timeout=30)
    yield environ
    wait_for("the namespace is empty again", lambda: _deleted(kubectl, namespace), Waiting(300))


def _deleted(kubectl: Kubectl, namespace: str) -> tuple[bool, str]:
    try:
        kubectl.run("delete", "mmodel", "--all", "--namespace", namespace, "--timeout=250s", seconds=260)
    except KubectlError as reason:
        return False, str(reason)
    return True, ""


def test_the_readmes_first_model_works_as_it_stands(in_namespace: dict[str, str], tmp_path: Path) -> None:
    (manifest,) = blocks("A model of your own", "yaml")
    (tmp_path / "credit.yaml").write_text(manifest)
    (shown,) = blocks("A model of your own", "console")
    commands, answer = script(shown)
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        env=in_namespace, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == answer


def script(shown: str) -> tuple[str, str]:
    """The commands of a console block as a script, and what the block says the last one answers."""
    lines = shown.strip().splitlines()
    answer = lines.pop()
    text = "\n".join(line.removeprefix("$ ") for line in lines).replace("localhost:8080", "localhost:$PORT")
    # A person has port 8080 and waits for "Forwarding from"; a script lets kubectl find a port that is free,
    # reads which, and ends what it started.
    forward = re.search(r"^kubectl port-forward (\S+) 8080 &$", text, re.MULTILINE)
    assert forward, "the README forwards a port"
    started = f""": >forwarded
kubectl port-forward {forward[1]} :8080 >forwarded &
trap 'kill %1' EXIT
port() {{ sed -n 's/^Forwarding from 127.0.0.1:\\([0-9]*\\) .*/\\1/p' forwarded; }}
for _ in $(seq 600); do PORT=$(port); [ -n "$PORT" ] && break; sleep 0.1; done"""
    return text.replace(forward[0], started), answer
