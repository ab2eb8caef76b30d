"""What a training makes, as bytes: a manifest and arrays of numbers. Never code, never a pickle.

A zip of stored (not compressed) members with fixed times and ascending names, so that the same content gives
the same bytes: `manifest.json`, then `<name>.npy` for each array. Must not know what an artefact is for.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MOST_BYTES: Final = 256 << 20
_MOST_MEMBERS: Final = 256
_MANIFEST: Final = "manifest.json"
_KINDS: Final = frozenset("biuf")
_BEGINNING: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Artefact:
    """`kind` says whose it is; the manifest is JSON: version of the method, inputs' hashes, rows, seed …

    Arrays are of booleans, integers or floats, of any shape.
    """

    kind: str
    manifest: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def pack(artefact: Artefact) -> bytes:
    """The bytes of an artefact. Raises ValueError for arrays of other types, or for NaN in the manifest."""
    out = io.BytesIO()
    manifest = {"kind": artefact.kind, "manifest": artefact.manifest}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
        archive.writestr(zipfile.ZipInfo(_MANIFEST, _BEGINNING), text.encode())
        for name in sorted(artefact.arrays):
            array = np.ascontiguousarray(artefact.arrays[name])
            if array.dtype.kind not in _KINDS:
                raise ValueError(f"array {name} is of {array.dtype}: only numbers can be kept")
            member = io.BytesIO()
            np.lib.format.write_array(member, array.astype(array.dtype.newbyteorder("<")), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _BEGINNING), member.getvalue())
    return out.getvalue()


def unpack(content: bytes, most_bytes: int = MOST_BYTES) -> Artefact:
    """The artefact in these bytes. Raises ValueError, saying why, for anything that `pack` would not make:
    compressed or foreign members, other types, more than `most_bytes`.
    """
    if len(content) > most_bytes:
        raise ValueError(f"the artefact has {len(content)} bytes, at most {most_bytes} are taken")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise ValueError("too many members, or compressed ones")
            if not members or members[0].filename != _MANIFEST:
                raise ValueError(f"{_MANIFEST} is not its first member")
            told = json.loads(archive.read(_MANIFEST))
            arrays = {_name(m.filename): _array(archive.read(m)) for m in members[1:]}
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"this is no artefact: {error}") from None
    if not isinstance(told, dict) or not isinstance(told.get("manifest"), dict):
        raise ValueError(f"this is no artefact: {_MANIFEST} has no manifest")
    return Artefact(str(told.get("kind", "")), told["manifest"], arrays)


def _name(filename: str) -> str:
    if not filename.endswith(".npy"):
        raise ValueError(f"member {filename!r} is no array")
    return filename.removesuffix(".npy")


def _array(content: bytes) -> npt.NDArray[Any]:
    # The header states a shape, and memory is taken for it before the data are read: it must fit the data.
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array of format {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.kind not in _KINDS or size != len(content) - stream.tell():
        raise ValueError("array of another type or size than it states")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
