"""One real API server for all tests of a session. Tests keep apart by namespaces and names of their own.

A test that stops or restarts the API server starts one of its own: `with ApiServer() as own: …`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.apiserver import ApiServer


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """etcd, API server and controller manager, ready."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def kubeconfig(api_server: ApiServer) -> Path:
    """The administrator's kubeconfig."""
    return api_server.kubeconfig
