"""The peers' Python environments: made once from exact versions, kept in the cache folder, found again by
their content. Must not know what is measured in them.
"""

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from benchmarks.workers import BenchError
from testbed.cache import built_once, cache_folder, content_key

REQUIREMENTS = Path(__file__).resolve().parent / "peers" / "requirements"
_TELL_EVERY = 10
Tell = Callable[[str], None]


def python_of(environment: str, tell: Tell) -> Path:
    """The interpreter of the environment of that name, which is made if it is not there yet.

    Its packages are those of `peers/requirements/<name>.txt`, down to the last dependency. Raises BenchError
    if they cannot be installed.
    """
    requirements = REQUIREMENTS / f"{environment}.txt"
    key = content_key(requirements, f"{sys.version_info[:2]}")
    folder = cache_folder() / "bench" / f"{environment}-{key}"
    waiting = f"another process makes the environment of {environment}: waiting for it"
    made = built_once(folder, lambda at: _make(at, requirements, tell), lambda: tell(waiting))
    return made / "bin" / "python"


def _make(folder: Path, requirements: Path, tell: Tell) -> None:
    packages = sum("==" in line for line in requirements.read_text().splitlines())
    tell(f"making the environment of {requirements.stem}: {packages} packages, once")
    # With links instead of copies an environment may be moved after it was made.
    venv.create(folder, with_pip=True, symlinks=True)
    # Everything is pinned, so nothing is resolved; only what is imported gets compiled, when it is.
    options = ["--only-binary=:all:", "--no-compile", "--disable-pip-version-check", "--progress-bar=off"]
    process = subprocess.Popen(
        [folder / "bin" / "python", "-m", "pip", "install", *options, "--requirement", requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen, last = 0, ""
    for line in process.stdout:
        last = line.strip() or last
        if line.startswith("Collecting "):
            seen += 1
            if seen % _TELL_EVERY == 0:
                tell(f"  {seen} of {packages} packages fetched")
        elif line.startswith("Installing "):
            tell("  installing them")
    if process.wait():
        raise BenchError(f"the environment of {requirements.stem} cannot be made: {last}")
