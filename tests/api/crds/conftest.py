"""Our kinds at an API server of these tests' own, and a namespace for each test."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from crd_objects import PATIENCE, Objects, install_definitions

from testbed.api_client import ApiClient
from testbed.apiserver import ApiServer


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """No operator is here: it would write to the objects between a test's own two writes."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def definitions_installed(api_server: ApiServer) -> ApiClient:
    """A client of an API server that serves our kinds."""
    client = replace(api_server.client, timeout_seconds=PATIENCE)
    install_definitions(client)
    return client


@pytest.fixture
def objects(definitions_installed: ApiClient) -> Objects:
    """Our kinds in a namespace of the test's own."""
    namespace = f"kinds-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    definitions_installed.request("POST", "/api/v1/namespaces", body)
    return Objects(definitions_installed, namespace)
