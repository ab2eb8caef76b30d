"""Builds the compiled parser (native/) into a wheel, once for what it is made of. Nothing else needs it.

Needs Rust's cargo and a crates registry for the few crates that native/Cargo.toml names.
"""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from testbed.cache import built_once, cache_folder, content_key
from testbed.errors import SetupError
from testbed.long_programs import Shown
from testbed.progress import Reporter

PROJECT = Path(__file__).parent.parent
BUILD_LINES = 30  # that a build prints, about, for the progress bar
NO_CARGO = "The compiled parser needs cargo (https://rustup.rs, or your distribution's rust); it is optional."


def unpacked(reporter: Reporter, project: Path = PROJECT) -> Path:
    """A folder for PYTHONPATH that holds the package and nothing else. Raises SetupError."""
    return _built(reporter, project) / "unpacked"


def install(reporter: Reporter, project: Path = PROJECT) -> Path:
    """Install it into the environment this runs in, and leave its wheel for images. Raises SetupError."""
    (wheel,) = _built(reporter, project).glob("*.whl")
    shelf = project / "native" / "dist"
    shelf.mkdir(exist_ok=True)
    for old in shelf.glob("*.whl"):
        old.unlink()
    left = Path(shutil.copy(wheel, shelf))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--force-reinstall", str(left)], check=True)
    return left


def image_wheels(project: Path) -> list[Path]:
    """The wheel that `install` has left, if images of this machine's kind can run it; else none."""
    tag = f"linux*_{platform.machine()}.whl"
    return sorted(each for each in (project / "native" / "dist").glob("*.whl") if each.match(f"*{tag}"))[:1]


def sources(project: Path) -> list[Path]:
    """All that the package is made of."""
    folder = project / "native"
    return [folder / "Cargo.toml", folder / "pyproject.toml", *sorted(folder.glob("src/*.rs"))]


def _built(reporter: Reporter, project: Path) -> Path:
    """A folder with the wheel, and what is in it unpacked."""
    cargo = shutil.which("cargo") or ""
    version = subprocess.run([cargo, "--version"], check=True, capture_output=True).stdout if cargo else b""
    key = content_key(*sources(project), platform.machine(), version)

    def build(folder: Path) -> None:
        if not cargo:
            raise SetupError(NO_CARGO)
        # Outside of the tree, kept: crates are compiled once. One at a time: it is a small thing.
        surroundings = {"CARGO_TARGET_DIR": str(cache_folder() / "cargo-target"), "CARGO_BUILD_JOBS": "1"}
        command = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "wheel",
            "--no-deps",
            "--verbose",
        ]
        with reporter.step("Build the compiled parser (a minute, when it changes)") as step:
            shown = Shown(step, BUILD_LINES)
            command += [f"--wheel-dir={folder}", str(project / "native")]
            shown.run(command, environment={**os.environ, **surroundings})
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "unpacked")

    return built_once(
        cache_folder() / "native" / key,
        build,
        lambda: reporter.say("Waiting: another run builds the parser …"),
    )
