"""Reads of our Dockerfiles what the quick build needs: the extra, and the last stage, which may only COPY."""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import content_key
from testbed.errors import SetupError
from testbed.native import image_wheels

DEPENDENCIES = "dependencies"


@dataclass(frozen=True)
class Copy:
    """A COPY line: a file or folder of the project, and where it goes in the image."""

    source: str
    target: str


@dataclass(frozen=True)
class Dockerfile:
    """`extra`: of pyproject.toml, what the dependencies are. `copies`: our code. `native`: whether it takes
    the compiled parser.
    """

    path: Path
    text: str
    extra: str
    copies: tuple[Copy, ...]
    native: bool

    def wheels(self, project: Path) -> list[Path]:
        """The wheel of the compiled parser that `make native` has left for images, if there is one."""
        return image_wheels(project) if self.native else []

    def build_arguments(self, project: Path) -> list[str]:
        """Of `docker build` and of buildah alike."""
        return [f"--build-arg=NATIVE={wheel.name}" for wheel in self.wheels(project)]

    def dependencies_key(self, project: Path) -> str:
        """Changes with the instructions, with the extra and with the compiled parser; not with code, and not
        with versions.
        """
        extras = tomllib.loads((project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        before, _, _ = self.text.rpartition("\nFROM ")
        instructions = "\n".join(line for line in before.splitlines() if not line.lstrip().startswith("#"))
        return content_key(instructions, "\n".join(extras[self.extra]), *self.wheels(project))


def parse(path: Path) -> Dockerfile:
    """Raises SetupError when the file is not made the way its first comment says."""
    text = path.read_text()
    instructions = [
        line.split(None, 1)
        for line in re.sub(r"\\\n", " ", text).splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    stages = [number for number, words in enumerate(instructions) if words[0] == "FROM"]
    if len(stages) < 2 or instructions[stages[-1]][1].strip() != DEPENDENCIES:
        raise SetupError(f"{path}: the last stage must be `FROM {DEPENDENCIES}`.")
    copies = []
    for words in instructions[stages[-1] + 1 :]:
        operands = words[1].split()
        if words[0] != "COPY" or len(operands) != 2 or operands[0].startswith("--"):
            raise SetupError(
                f"{path}: the last stage may only `COPY SOURCE TARGET`, not `{' '.join(words)}`."
            )
        copies.append(Copy(*operands))
    extra = re.search(r"^ARG EXTRA=(\S+)$", text, re.MULTILINE)
    if not extra:
        raise SetupError(
            f"{path}: `ARG EXTRA=…` must name the extra of pyproject.toml with the dependencies."
        )
    native = re.search(r"^ARG NATIVE=$", text, re.MULTILINE) is not None
    return Dockerfile(path, text, extra[1], tuple(copies), native)


def code_files(project: Path, copies: tuple[Copy, ...]) -> dict[str, tuple[bytes, int]]:
    """What the COPY lines put into an image: path → content and mode. No bytecode, no editor's leavings."""
    files = {}
    for copy in copies:
        source, target = project / copy.source, copy.target.lstrip("/")
        found = [source] if source.is_file() else sorted(each for each in source.rglob("*") if each.is_file())
        if not found:
            raise SetupError(f"{copy.source} is to be copied into an image, but there is nothing.")
        for file in found:
            relative = file.relative_to(source)
            if "__pycache__" in file.parts or any(part.startswith(".") for part in relative.parts):
                continue
            name = target if source.is_file() else f"{target}/{relative}"
            files[name] = (file.read_bytes(), 0o755 if file.stat().st_mode & 0o100 else 0o644)
    return files


def pins(constraints: str, packages: Collection[str]) -> list[str]:
    """The lines of constraints.txt about these packages: no other line can change what is installed."""
    lines = []
    for line in constraints.splitlines():
        name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if name and normalized(name[0]) in packages:
            lines.append(line.strip())
    return sorted(lines)


def normalized(name: str) -> str:
    """A package's name as indexes compare it (the packaging standard's normalisation)."""
    return re.sub(r"[-_.]+", "-", name).lower()
