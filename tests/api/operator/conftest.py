"""The real operator against a real API server, through the chart's own ServiceAccount and rights.

No node: pods stay Pending, and `cells` answers in the place of stores. What needs a node is in tests/e2e.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from chart_install import install
from cluster_client import ClusterClient
from operator_process import OperatorProcess, eventually, operator
from recording_proxy import RecordingProxy
from stub_cells import StubCell, StubCells

from testbed.apiserver import ApiServer

SYSTEM = "modelwarden-system"


@pytest.fixture(scope="session")
def cluster(api_server: ApiServer) -> ClusterClient:
    """The API server, with our kinds."""
    client = ClusterClient(api_server.client)
    client.install_crds()
    return client


@pytest.fixture(scope="session")
def apart_server() -> Iterator[ApiServer]:
    """A second API server, for tests with operators of their own: two would fight over the same models."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def apart(apart_server: ApiServer) -> ClusterClient:
    """The second API server, with our kinds."""
    client = ClusterClient(apart_server.client)
    client.install_crds()
    return client


@pytest.fixture
def own(apart: ClusterClient) -> str:
    """The namespace of an operator of the test's own."""
    return apart.make_namespace(f"mw-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def proxy(apart_server: ApiServer) -> Iterator[RecordingProxy]:
    """Between the test's operator and the second API server."""
    with RecordingProxy(apart_server) as between:
        yield between


@pytest.fixture(scope="session")
def cells() -> Iterator[StubCells]:
    """Stand-ins for stores."""
    with StubCells() as stubs:
        yield stubs


@pytest.fixture(scope="session")
def running(
    api_server: ApiServer,
    cluster: ClusterClient,
    cells: StubCells,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProcess]:
    """One operator for the tests that need not kill it: cluster-wide, with the chart's environment."""
    cluster.make_namespace(SYSTEM)
    installed = install(api_server, SYSTEM)
    folder = tmp_path_factory.mktemp("operator")
    settings = installed.environment | {"MODELWARDEN_CELL_URL_TEMPLATE": cells.url_template}
    settings |= {name: value for name, value in _QUICKER.items() if name in settings}
    with operator(installed.kubeconfig, folder, **settings) as process:
        yield process


@pytest.fixture(autouse=True)
def alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test in which the common operator ends, and not all that come after it."""
    yield
    if "running" in request.fixturenames:
        process: OperatorProcess = request.getfixturevalue("running")
        assert process.running, process.log.read_text()[-2000:]


@pytest.fixture
def namespace(cluster: ClusterClient, cells: StubCells) -> Iterator[str]:
    """A namespace of the test's own, in which pods must be restricted. Left to the cluster to delete."""
    name = cluster.make_namespace(f"shop-{uuid.uuid4().hex[:8]}")
    yield name
    for namespace, model in list(cells.cells):
        if namespace == name:
            del cells.cells[namespace, model]
    cluster.client.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def answer(cluster: ClusterClient, cells: StubCells) -> "Answer":
    """Makes a store answer for a model."""
    return Answer(cluster, cells)


class Answer:
    """`answer(namespace, "census", rows=…)`: from now on a store says this, with the right key and id."""

    def __init__(self, cluster: ClusterClient, cells: StubCells) -> None:
        self._cluster = cluster
        self._cells = cells

    def __call__(self, namespace: str, model: str = "census", **report: object) -> StubCell:
        key, model_id = eventually(lambda: self._cluster.key_of(namespace, model))
        generation = {"settingsGeneration": 1_000_000}
        cell = StubCell(key, model_id, generation | report)
        self._cells.cells[(namespace, model)] = cell
        return cell


# The chart's environment sets these for production; a test does not wait that long.
_QUICKER = {
    "MODELWARDEN_RESYNC": "5",
    "MODELWARDEN_POLL_INTERVAL": "0.5",
    "MODELWARDEN_DATA_FACTS_INTERVAL": "0",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an operator of the test's own keeps its log."""
    return tmp_path
