"""Who installs the SDK installs httpx, pyarrow and pandas: nothing of ours may ask for more."""

import os
import subprocess
import sys

PROGRAM = """
import pkgutil, sys
import modelwarden.client
for module in pkgutil.iter_modules(modelwarden.client.__path__, "modelwarden.client."):
    __import__(module.name)
from modelwarden.client import Cell
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
ALLOWED = {"modelwarden", "httpx", "pyarrow", "pandas"}
FORBIDDEN = {
    "pydantic", "pydantic_settings", "kopf", "kubernetes", "starlette", "granian", "deltalake", "msgspec",
    "sklearn", "scipy", "yaml", "prometheus_client", "modelwarden_server", "duckdb", "requests",
}  # fmt: skip


def test_the_sdk_needs_nothing_but_its_three_libraries() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environ
    ).stdout
    loaded = set(shown.split())
    assert loaded >= ALLOWED
    assert loaded & FORBIDDEN == set()


def test_the_package_itself_loads_nothing_until_asked() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = "import sys, modelwarden.client.cli; print('\\n'.join(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert {"httpx", "pyarrow", "pandas"} & set(shown.stdout.split()) == set()
