"""Container images as files: an OCI layout (blobs by their hash), images in it, and archives made of it.

Pure file work after the OCI image specification 1.1; knows neither how layers are filled nor who runs them.
Layers are not compressed: they stay on this machine, and gzip would cost more than the disk does.
"""

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Blob:
    """What a descriptor says of a blob."""

    kind: str
    digest: str
    size: int

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size}

    @classmethod
    def described(cls, descriptor: Mapping[str, Any]) -> "Blob":
        return cls(descriptor["mediaType"], descriptor["digest"], descriptor["size"])


@dataclass(frozen=True)
class Image:
    """A manifest and the full name it is known by, such as `localhost/modelwarden/operator:0123abcd`."""

    name: str
    manifest: Blob


class Layout:
    """A folder of blobs. Blobs are written under another name first, so one that is there is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def path(self, blob: Blob) -> Path:
        return self.blobs / blob.digest.removeprefix("sha256:")

    def read(self, blob: Blob) -> Any:
        """The JSON in a blob."""
        return json.loads(self.path(blob).read_bytes())

    def write(self, kind: str, content: bytes) -> Blob:
        return self.write_stream(kind, lambda file: file.write(content))

    def write_layer(self, fill: Callable[[IO[bytes]], object]) -> Blob:
        return self.write_stream(LAYER, fill)

    def write_json(self, kind: str, content: Any) -> Blob:
        return self.write(kind, json.dumps(content, sort_keys=True, separators=(",", ":")).encode())

    def write_stream(self, kind: str, fill: Callable[[IO[bytes]], object]) -> Blob:
        """A blob of what `fill` writes."""
        with tempfile.NamedTemporaryFile(dir=self.blobs, prefix=".part-", delete=False) as file:
            try:
                fill(file)
                file.flush()
                size = file.tell()
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                Path(file.name).chmod(0o644)
                Path(file.name).rename(self.blobs / digest)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return Blob(kind, f"sha256:{digest}", size)

    def contents(self, image: Image) -> list[Blob]:
        """Manifest, configuration and layers."""
        manifest = self.read(image.manifest)
        parts = [manifest["config"], *manifest["layers"]]
        return [image.manifest, *(Blob.described(part) for part in parts)]

    def holds(self, image: Image) -> bool:
        """Whether every blob of the image is there."""
        return self.path(image.manifest).exists() and all(
            self.path(blob).exists() for blob in self.contents(image)
        )

    def write_image(self, name: str, config: Mapping[str, Any], layers: Iterable[Blob]) -> Image:
        """`config` without `rootfs`: the layers, which are not compressed, say what belongs there."""
        layers = list(layers)
        assert all(layer.kind == LAYER for layer in layers), "a compressed layer has another name outside"
        full = {**config, "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.write_json(CONFIG, full).descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        }
        return Image(name, self.write_json(MANIFEST, manifest))

    def adopt(self, index: Path, name: str) -> Image:
        """The one image that another program's index.json names, its layers uncompressed."""
        (descriptor,) = json.loads(index.read_text())["manifests"]
        foreign = Image(name, Blob.described(descriptor))
        _, config, *layers = self.contents(foreign)
        return self.write_image(name, self.read(config), [self._uncompressed(layer) for layer in layers])

    def _uncompressed(self, layer: Blob) -> Blob:
        if layer.kind != f"{LAYER}+gzip":
            return layer
        with gzip.open(self.path(layer)) as content:
            plain = self.write_layer(lambda file: shutil.copyfileobj(content, file, 1 << 20))
        self.path(layer).unlink()
        return plain


def empty_config() -> dict[str, Any]:
    """An image configuration for this machine, to be filled in."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {"architecture": architecture, "os": "linux", "created": EPOCH, "config": {}, "history": []}


def write_files(archive: IO[bytes], files: Mapping[str, tuple[bytes, int]]) -> None:
    """A layer of files (path in the image → content and mode), owned by root, the same every time."""
    folders = sorted({str(parent) for path in files for parent in Path(path).parents if str(parent) != "."})
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))


def write_archive(file: IO[bytes], layout: Layout, image: Image, leave_out: Collection[str] = ()) -> int:
    """An OCI archive of one image, as `ctr images import` and `skopeo` read it. Gives the bytes of blobs.

    Blobs whose digests are in `leave_out` are described but not sent: the receiver has them.
    """
    descriptor = image.manifest.descriptor() | {
        "annotations": {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name,
        }
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
    sent = 0
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
        for name, document in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            data = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for blob in layout.contents(image):
            if blob.digest in leave_out:
                continue
            entry = tarfile.TarInfo(f"blobs/{blob.digest.replace(':', '/')}")
            entry.size = blob.size
            with layout.path(blob).open("rb") as content:
                tar.addfile(entry, content)
            sent += blob.size
    return sent
