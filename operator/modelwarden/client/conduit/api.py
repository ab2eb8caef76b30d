"""`Conduit`: a flow tried on this machine and deployed to a cluster.

What this module must not do: run a model in this process.
"""

import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from modelwarden.client.conduit import cell
from modelwarden.client.conduit.bundle import Bundle, make_bundle
from modelwarden.client.conduit.errors import ConduitError
from modelwarden.client.conduit.kubectl import Namespace
from modelwarden.client.conduit.running import LocalFlow, file_bytes
from modelwarden.client.conduit.settings import Settings, checked, manifest_of
from modelwarden.client.conduit.stages import Function, Stage, stage_of, stages_of
from modelwarden.client.kubectl import Kubectl, condition_of

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_POLL_SECONDS = 2.0


class Conduit:
    """A flow of models under a name.

    Args:
        name: of the model: small letters, digits and hyphens, at most 40.
        flow: (model_type, file) or (model_type, file, {"pre": f, "post": g}), or a list of these.
        more: the documented form Conduit(name, api_key, flow) is understood, too; the key is not needed.
        settings: see Settings.
    """

    def __init__(self, name: str, flow: Any = None, more: Any = None, **settings: Unpack[Settings]) -> None:
        if not _NAME.fullmatch(name):
            raise ConduitError(
                f"the name {name!r} must begin with a small letter, hold small letters, digits and hyphens,"
                " at most 40"
            )
        self.name = name
        stages = flow if more is None else more
        self._stages: list[Stage] = [] if stages is None else stages_of(stages)
        self._settings = checked(settings)
        self._base = Path()
        self._running: LocalFlow | None = None
        self._bundled: tempfile.TemporaryDirectory[str] | None = None

    def add_model(self, kind: str, file: Any, processing: Mapping[str, Function] | None = None) -> None:
        """One more stage at the end."""
        self._stages.append(stage_of(kind, file, processing))

    def load(self, base_path: str | Path = "./") -> None:
        """Bundle the flow as it is deployed, and load the bundle in a process of its own.

        Raises:
            ConduitError: a file is missing, a function uses what is not in it, a model cannot be loaded.
        """
        self.close()
        self._base = Path(base_path)
        self._bundled = tempfile.TemporaryDirectory(prefix="conduit-")
        bundle = self._bundle(Path(self._bundled.name))
        self._running = LocalFlow(bundle.folder)

    def run(self, data: list[Any], files: Sequence[Any] = ()) -> list[Any]:
        """The results for a list of data points, as the cluster answers them. `files` are opened as binary
        (paths, bytes and Pillow images are taken, too).

        Raises:
            FlowFailedError: the flow refused the data or failed.
        """
        if self._running is None:
            raise ConduitError("nothing is loaded: call load(base_path) first")
        return self._running.run(data, [file_bytes(file, number) for number, file in enumerate(files)])

    def deploy(
        self,
        namespace: str = "default",
        *,
        options: Sequence[str] = (),
        out: str | Path | None = None,
        timeout: float = 600.0,
    ) -> str:
        """Apply the model, send its files, wait until a pod predicts with them; the address to predict at,
        inside of the cluster. Again with the same name: the new files take over without a gap.

        Args:
            namespace: where the model lives.
            options: of kubectl, for example ("--context", "prod").
            out: a folder: nothing is applied, but model.yaml and files.zip are written there, for Git; the
                answer is that folder.

        Raises:
            ConduitError: what stands in the way.
        """
        with tempfile.TemporaryDirectory(prefix="conduit-") as made:
            bundle = self._bundle(Path(made) / "files")
            zipped = Path(made) / "files.zip"
            sha256 = bundle.zip(zipped)
            manifest = manifest_of(self.name, namespace, bundle.stages, self._settings)
            if out is not None:
                folder = Path(out)
                folder.mkdir(parents=True, exist_ok=True)
                import yaml  # the SDK needs it for nothing else

                (folder / "model.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
                (folder / "files.zip").write_bytes(zipped.read_bytes())
                return str(folder)
            target = Namespace(namespace, Kubectl(options=tuple(options)))
            return self._deployed(target, manifest, zipped, (sha256, timeout))

    def close(self) -> None:
        """End what `load` began."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._bundled is not None:
            self._bundled.cleanup()
            self._bundled = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _bundle(self, folder: Path) -> Bundle:
        folder.mkdir(parents=True, exist_ok=True)
        listed = self._settings.get("requirements_file")
        include = [Path(path) for path in self._settings.get("include", ())]
        requirements = None if listed is None else Path(listed)
        return make_bundle(folder, self._base, self._stages, requirements, include)

    def _deployed(
        self, target: Namespace, manifest: Mapping[str, Any], zipped: Path, wanted: tuple[str, float]
    ) -> str:
        sha256, timeout = wanted
        deadline = time.monotonic() + timeout
        target.apply(manifest)
        waits = "the model's store"
        while condition_of(target.status(self.name), "StoreAvailable").get("status") != "True":
            _pause(deadline, f"{waits} is not there: {_why(target.status(self.name))}")
        key = target.key(self.name)
        with target.forwarded(self.name) as url:
            cell.upload(url, key, zipped)
            while (left := cell.predicting(url, key, sha256, _raise)) is not None:
                _pause(deadline, f"{left}; {_why(target.status(self.name))}")
        while not (address := (target.status(self.name).get("server") or {}).get("predictUrl")):
            _pause(deadline, "the operator has not told the address yet")
        return str(address)


def deploy(flow: Any, name: str, namespace: str = "default", **options: Any) -> str:
    """A flow deployed in one call: see Conduit.deploy."""
    return Conduit(name, flow).deploy(namespace, **options)


def _raise(words: str) -> None:
    raise ConduitError(words)


def _pause(deadline: float, now: str) -> None:
    if time.monotonic() + _POLL_SECONDS > deadline:
        raise ConduitError(f"not within the time given: {now}")
    time.sleep(_POLL_SECONDS)


def _why(status: Mapping[str, Any]) -> str:
    ready = condition_of(status, "Ready")
    return str(ready.get("message") or ready.get("reason") or "the operator has said nothing yet")
