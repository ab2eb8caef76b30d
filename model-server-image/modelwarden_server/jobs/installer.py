"""pip, run once for one list of packages into a folder: bounded in time, its last lines kept.

It gets the settings that say where packages come from, and nothing else of this process: no key. What it
builds is code of strangers, which is why this runs in a pod of its own. Must not know the store.
"""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PASSED: Final = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "NETRC",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        *(name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (upper, upper.lower())),
        *(
            f"PIP_{name}"
            for name in (
                "CERT",
                "CLIENT_CERT",
                "CONFIG_FILE",
                "DEFAULT_TIMEOUT",
                "EXTRA_INDEX_URL",
                "FIND_LINKS",
                "INDEX_URL",
                "NO_BINARY",
                "NO_INDEX",
                "ONLY_BINARY",
                "PRE",
                "PREFER_BINARY",
                "PROXY",
                "RETRIES",
                "TIMEOUT",
                "TRUSTED_HOST",
            )
        ),
    }
)
# The contract hands arrays to the code, so there must be something that reads them.
ALWAYS: Final = ("numpy",)
_OPTIONS: Final = (
    "--no-input",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "--no-compile",
    "--no-color",
    "--no-warn-conflicts",
    "--no-warn-script-location",
    "--progress-bar=off",
)
_BUNDLE: Final = "MODELWARDEN_CA_BUNDLE"
_KEPT_LINES: Final = 20
_KEPT_CHARACTERS: Final = 2500
_LINE: Final = 2000
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_AWAY: Final = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|ProxyError|IncompleteRead"
    r"|Connection (?:broken|aborted)|Temporary failure in name resolution|5\d\d Server Error"
)
_FULL: Final = re.compile(r"No space left on device|Disk quota exceeded")


class NotInstalledError(Exception):
    """The packages cannot be installed. The message ends with the installer's last lines; `again`: another
    attempt may help.
    """

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True)
class Installer:
    """How packages are installed: by which Python, with which surroundings, within which time."""

    environ: Mapping[str, str]
    seconds: float = 1800.0
    python: str = sys.executable
    extra: Sequence[str] = ALWAYS

    def install(self, requirements: str, work: Path, target: Path, tell: Callable[[str], None]) -> None:
        """Install a list into the folder `target`. `tell` is given each line. Raises NotInstalledError,
        OSError.
        """
        listed = work / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        (work / "tmp").mkdir(exist_ok=True)
        command = [self.python, "-m", "pip", "install", *_OPTIONS, f"--target={target}"]
        command += [f"--requirement={listed}", *self.extra]
        last, code, ended = self._run(command, work, tell)
        if code == 0:
            return
        tail = "\n".join(last)[-_KEPT_CHARACTERS:]
        if ended:
            raise NotInstalledError(f"not done after {self.seconds:.0f} seconds\n{tail}", again=True)
        if _FULL.search(tail):
            raise NotInstalledError(f"the Job's disk is full: give it more\n{tail}", again=False)
        raise NotInstalledError(tail or f"pip ended with {code}", again=code < 0 or bool(_AWAY.search(tail)))

    def _run(
        self, command: Sequence[str], work: Path, tell: Callable[[str], None]
    ) -> tuple[list[str], int, bool]:
        """The last lines, the exit code, and whether its time was up."""
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        process = subprocess.Popen(
            command,
            cwd=work,
            env=self._environment(work),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = threading.Event()

        def end() -> None:
            ended.set()
            _kill(process.pid)

        timer = threading.Timer(self.seconds, end)
        timer.start()
        try:
            assert process.stdout is not None
            while line := process.stdout.readline(_LINE):
                text = _LOGIN.sub("****", line.decode(errors="replace").rstrip())
                if text:
                    last.append(text)
                    tell(text)
            code = process.wait()
        finally:
            timer.cancel()
            # Whatever a build has left behind must not outlive it, and must not write while it is packed.
            _kill(process.pid)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        return list(last), code, ended.is_set()

    def _environment(self, work: Path) -> dict[str, str]:
        own = {"HOME": str(work), "TMPDIR": str(work / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
        passed = {name: value for name, value in self.environ.items() if name in _PASSED}
        extra = self.environ.get(_BUNDLE)
        if extra is not None and "PIP_CERT" not in passed:
            # What the pod trusts, it trusts beside the public ones; pip would take the file instead of them.
            passed["PIP_CERT"] = str(_joined(Path(extra), work / "trusted.pem"))
        return passed | own


def _joined(extra: Path, target: Path) -> Path:
    """A file with the machine's own certificates and those of `extra`."""
    public = ssl.get_default_verify_paths().cafile
    known = Path(public).read_bytes() if public is not None else b""
    target.write_bytes(known + b"\n" + extra.read_bytes())
    return target


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
