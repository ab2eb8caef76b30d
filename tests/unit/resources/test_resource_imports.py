"""The resources are imported by the server image, which has neither the cluster's client nor kopf."""

import subprocess
import sys

# Pydantic and what it needs itself.
ALLOWED = {
    "annotated_types",
    "modelwarden",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}


def test_the_resources_import_pydantic_and_the_standard_library_only() -> None:
    code = (
        "import sys; import pydantic; before = set(sys.modules);"
        "import pkgutil, importlib, modelwarden.resources as room;"
        "[importlib.import_module(f'{room.__name__}.{m.name}') for m in pkgutil.iter_modules(room.__path__)];"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before if name[0] != '_'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "modelwarden" in run.stdout.split()
    assert set(run.stdout.split()) - ALLOWED - sys.stdlib_module_names == set()
