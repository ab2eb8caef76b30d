"""One real cluster for all tests of a session: started, our images loaded, the chart installed; removed at
the end.

MODELWARDEN_E2E_KEEP=1 leaves it running (and finds it again), for the loop of daily work. A machine that
cannot run one fails these tests: a skip would hide that nothing was tried.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.census.installation import SYSTEM_NAMESPACE, fresh_namespace, install
from examples.census.kubectl import Kubectl, diagnosis, kubectl_of
from testbed.cluster import Cluster, open_cluster
from testbed.progress import ConsoleReporter, Reporter

NAME = "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def reporter() -> Reporter:
    return ConsoleReporter()


@pytest.fixture(scope="session")
def cluster(reporter: Reporter) -> Iterator[Cluster]:
    """A cluster with the operator installed in `modelwarden-system`."""
    opened = open_cluster(NAME, reporter)
    try:
        install(opened, reporter)
        yield opened
    finally:
        if not os.environ.get("MODELWARDEN_E2E_KEEP"):
            opened.down()


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return kubectl_of(cluster)


@pytest.fixture(scope="module")
def new_namespace(cluster: Cluster, kubectl: Kubectl, reporter: Reporter) -> Iterator[Callable[[str], str]]:
    """Makes empty namespaces under PodSecurity `restricted`; they go with the module's last test."""
    made: list[str] = []

    def make(name: str) -> str:
        fresh_namespace(cluster, name, reporter)
        made.append(name)
        return name

    yield make
    for name in made:
        kubectl.run("delete", "namespace", name, "--timeout=300s", seconds=310)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds pods, events and logs to the report of a test that failed: the cluster may be gone when it is
    read.
    """
    made = yield
    opened = getattr(item, "funcargs", {}).get("kubectl")
    if made.failed and opened is not None:
        namespaces = [SYSTEM_NAMESPACE, *getattr(item.module, "NAMESPACES", ())]
        with contextlib.suppress(OSError):
            made.sections.append(("cluster", diagnosis(opened, namespaces)))
    return made
