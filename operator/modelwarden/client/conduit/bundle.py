"""Everything that a flow needs as one folder, and as one zip with a hash: functions' sources, model files.

    stage_1_pre.py, stage_1_post.py …   functions, each a module of its own
    model.pkl …                         files of the stages, where they were below the base path
    requirements.txt                    packages
    flow.json                           the stages

The same flow gives the same zip, byte by byte. What this module must not do: load a model.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwarden.client.conduit.errors import ConduitError
from modelwarden.client.conduit.sources import module_of
from modelwarden.client.conduit.stages import Stage

_LEFT_OUT = ("__pycache__", ".git", ".ipynb_checkpoints", ".DS_Store")


@dataclass(frozen=True)
class Bundle:
    """A flow's folder. `stages` as a MonitoredModel declares them."""

    folder: Path
    stages: list[dict[str, Any]]

    def zip(self, target: Path) -> str:
        """Write the zip; its SHA-256 in hex."""
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in sorted(self.folder.rglob("*")):
                name = path.relative_to(self.folder)
                if not path.is_file() or any(part in _LEFT_OUT for part in name.parts):
                    continue
                info = zipfile.ZipInfo(name.as_posix(), (1980, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                with path.open("rb") as source, archive.open(info, "w") as out:
                    shutil.copyfileobj(source, out)
        with target.open("rb") as made:
            return hashlib.file_digest(made, "sha256").hexdigest()


def make_bundle(
    folder: Path, base: Path, stages: Sequence[Stage], requirements: Path | None, include: Sequence[Path] = ()
) -> Bundle:
    """Fill an empty folder. `base` is where relative paths begin; `include` are more files or folders.
    Raises ConduitError."""
    if not stages:
        raise ConduitError("the flow has no stages: give it some, or call add_model")
    taken: dict[str, Path] = {}
    declared = [_stage(folder, base, number, stage, taken) for number, stage in enumerate(stages)]
    for path in include:
        _copied(folder, base, path, taken)
    if requirements is not None:
        source = base / requirements
        if not source.is_file():
            raise ConduitError(f"there is no requirements file {requirements}")
        shutil.copyfile(source, folder / "requirements.txt")
    (folder / "flow.json").write_text(json.dumps(declared, indent=1))
    return Bundle(folder, declared)


def _stage(folder: Path, base: Path, number: int, stage: Stage, taken: dict[str, Path]) -> dict[str, Any]:
    file = _copied(folder, base, stage.file, taken)
    declared: dict[str, Any] = {"modelType": stage.kind.value}
    if stage.task is None:
        declared["file"] = file
    else:
        declared["pipeline"] = {"task": stage.task, "model": file}
    for when, function in (("pre", stage.pre), ("post", stage.post)):
        if function is not None:
            source, name = module_of(function, when)
            module = f"stage_{number + 1}_{when}"
            (folder / f"{module}.py").write_text(source, encoding="utf-8")
            declared[when] = f"{module}:{name}"
    return declared


def _copied(folder: Path, base: Path, path: Path, taken: dict[str, Path]) -> str:
    """Copy a file or folder below the base to the same place in the bundle, others to its root; where."""
    source = (base / path).resolve()
    if not source.exists():
        raise ConduitError(f"there is no {path} in {base}")
    root = base.resolve()
    name = source.relative_to(root) if source.is_relative_to(root) and source != root else Path(source.name)
    if taken.setdefault(name.as_posix(), source) != source:
        raise ConduitError(f"two files would be called {name}: rename one")
    target = folder / name
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return name.as_posix()
