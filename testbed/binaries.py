"""Builds the programs of a small Kubernetes from Go modules, once for each content of `kubernetes/`.

Gives a folder with one file and a link for each program's name. Must not start any of them.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed.cache import built_once, cache_folder, content_key
from testbed.errors import SetupError
from testbed.long_programs import Shown
from testbed.progress import Reporter

MODULE = Path(__file__).parent / "kubernetes"
PROGRAMS = (
    "certificates",
    "coredns",
    "etcd",
    "helm",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
S3_GATEWAY = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
# A third less to write into the build cache, a few per cent faster, and the linker drops it anyway.
COMPILER_FLAGS = "-gcflags=all=-dwarf=false"


def kubernetes(reporter: Reporter) -> Path:
    """The folder with `etcd`, `kube-apiserver`, `kubectl`, `helm` and the rest, built if it must be.

    About nine minutes on two cores the first time, a second after that.
    """

    def build(unfinished: Path) -> None:
        with reporter.step("Build Kubernetes from Go modules (9 minutes on two cores, once)") as step:
            total = _count_packages()
            for package, target in (("./pause", "pause"), (".", "kubernetes")):
                command = ["go", "build", "-v", "-trimpath", "-buildvcs=false", COMPILER_FLAGS]
                command += ["-ldflags", " ".join(_linker_flags()), "-o", str(unfinished / target), package]
                Shown(step, total).run(command, folder=MODULE, environment=_environment())
        for program in PROGRAMS:
            (unfinished / program).symlink_to("kubernetes")

    return built_once(_folder(), build, lambda: reporter.say("Waiting: another process builds Kubernetes …"))


def kubeconform(reporter: Reporter) -> Path:
    """The program that checks manifests against the schemas, for the chart's tests."""
    folder = cache_folder() / "kubeconform" / content_key(KUBECONFORM, go_version(), platform.machine())

    def build(unfinished: Path) -> None:
        with reporter.step("Build kubeconform") as step:
            environment = _environment() | {"GOBIN": str(unfinished)}
            command = ["go", "install", "-trimpath", COMPILER_FLAGS, KUBECONFORM]
            Shown(step, 1).run(command, environment=environment)

    program = built_once(folder, build) / "kubeconform"
    link = kubernetes(reporter) / "kubeconform"
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return program


def s3_gateway(reporter: Reporter) -> Path:
    """The program that speaks S3 over a folder."""
    folder = cache_folder() / "versitygw" / content_key(S3_GATEWAY, go_version(), platform.machine())

    def build(unfinished: Path) -> None:
        with reporter.step("Build versitygw") as step:
            environment = _environment() | {"GOBIN": str(unfinished)}
            command = ["go", "install", "-trimpath", COMPILER_FLAGS, S3_GATEWAY]
            Shown(step, 1).run(command, environment=environment)

    return built_once(folder, build) / "versitygw"


def is_built() -> bool:
    """Whether `kubernetes` would return at once."""
    return _folder().is_dir()


def go_version() -> str:
    """As `go1.26.8`; the build needs 1.25 or later."""
    if not shutil.which("go"):
        raise SetupError("The Go toolchain is missing: install Go 1.25 or later, https://go.dev/dl")
    version = subprocess.run(
        ["go", "env", "GOVERSION"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < (1, 25):
        raise SetupError(f"This machine's Go is {version}, Kubernetes needs 1.25 or later: https://go.dev/dl")
    return version


def _folder() -> Path:
    """Named by all that goes into the build."""
    sources = [
        MODULE / "go.mod",
        MODULE / "go.sum",
        *sorted(MODULE.glob("*.go")),
        MODULE / "pause" / "main.go",
    ]
    go = go_version()
    key = content_key(*sources, go, platform.machine(), COMPILER_FLAGS, *_linker_flags())
    return cache_folder() / "kubernetes" / key


def _versions() -> dict[str, str]:
    """Module path → version, from go.mod: the one place where versions are written down."""
    return dict(re.findall(r"^\t(\S+) (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE))


def _linker_flags() -> Sequence[str]:
    versions = _versions()
    kubernetes_version = versions["k8s.io/kubernetes"]
    major, minor, _ = kubernetes_version.removeprefix("v").split(".", 2)
    flags = ["-s", "-w"]
    # Unless told, the API server calls itself v0.0.0-master and charts with a kubeVersion refuse it.
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        flags += [f"-X {package}.gitVersion={kubernetes_version}", f"-X {package}.gitMajor={major}"]
        flags += [f"-X {package}.gitMinor={minor}", f"-X {package}.gitTreeState=clean"]
        flags += [f"-X {package}.gitCommit=0000000000000000000000000000000000000000"]
        flags += [f"-X {package}.buildDate=1970-01-01T00:00:00Z"]
    flags += [f"-X helm.sh/helm/v4/internal/version.version={versions['helm.sh/helm/v4']}"]
    return flags


def _environment() -> dict[str, str]:
    return os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}


def _count_packages() -> int:
    """How many packages there are to compile; downloads their modules, which takes a minute at first."""
    listed = subprocess.run(
        ["go", "list", "-deps", "."],
        cwd=MODULE,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        raise SetupError(
            f"Go could not get the modules of {MODULE}:\n{listed.stderr[-2000:]}\n"
            "Check that GOPROXY (`go env GOPROXY`) can be reached, and run this again."
        )
    return len(listed.stdout.splitlines())
