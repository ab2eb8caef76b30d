"""An independent reader of Delta tables: DuckDB with its delta extension, in an environment of its own.

Installed once with pip and kept in the cache folder, by exact version. Nothing of ours and nothing of
deltalake can be imported there.
"""

import json
import subprocess
import sys
from pathlib import Path

from testbed.cache import built_once, cache_folder, content_key

DUCKDB = ("duckdb==1.5.5", "duckdb-extension-delta==1.5.5")
PROGRAM = """
import json, pathlib, sys
sys.path.insert(0, sys.argv.pop(1))
import duckdb, duckdb_extension_delta
(extension,) = pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("*.duckdb_extension")
connection = duckdb.connect(config={"autoinstall_known_extensions": False})
connection.execute("SET enable_progress_bar = false")  # it would be drawn on standard output
connection.execute(f"LOAD '{extension}'")
print(json.dumps(connection.execute(sys.argv[1], sys.argv[2:]).fetchall(), default=str))
"""


def ask(query: str, *parameters: str) -> list[list[object]]:
    """The rows that DuckDB answers; a table is named `delta_scan(?)`."""
    # Isolated and without site-packages: the standard library and the installed folder are all there is.
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(_installed()), query, *parameters]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def count(table: Path) -> tuple[int, int]:
    """Rows and different ids of a table of inferences."""
    ((rows, ids),) = ask(
        "SELECT count(*), count(DISTINCT partner_inference_id) FROM delta_scan(?)", str(table)
    )
    assert isinstance(rows, int)
    assert isinstance(ids, int)
    return rows, ids


def _installed() -> Path:
    return built_once(cache_folder() / "delta-witness" / content_key(*DUCKDB, sys.version), _install)


def _install(folder: Path) -> None:
    options = ["--disable-pip-version-check", "--quiet", "--only-binary=:all:", "--no-compile"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *DUCKDB]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
