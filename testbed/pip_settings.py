"""The build host's pip settings, handed to an image build as secrets: in the build, not in the image.

A mirror, its certificate authority, a folder of wheels: what pip uses here it must use there.
"""

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CERTIFICATES = "/build/ca.pem"
# Settings that mean something in another place; those about folders and environments do not.
PASSED_ON = (
    "extra-index-url",
    "find-links",
    "index-url",
    "no-index",
    "pre",
    "prefer-binary",
    "proxy",
    "retries",
    "timeout",
    "default-timeout",
    "trusted-host",
)


@dataclass(frozen=True)
class PipSettings:
    """`config`: a pip.conf. `certificates`: the file it names, if any. `mounts`: folder here → there."""

    config: str
    certificates: Path | None
    mounts: tuple[tuple[Path, str], ...]


def pip_settings() -> PipSettings:
    """Of this process's pip: its files and PIP_* variables."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return translated(parse_list(listed), dict(os.environ))


def parse_list(listed: str) -> dict[str, str]:
    """The output of `pip config list`; what comes later (the environment) wins, as in pip."""
    settings = {}
    for line in listed.splitlines():
        found = re.fullmatch(r"(?:global|install|:env:)\.([a-z0-9-]+)=(.*)", line.strip())
        if found:
            settings[found[1]] = str(ast.literal_eval(found[2]))
    return settings


def translated(settings: dict[str, str], environment: dict[str, str]) -> PipSettings:
    """Paths of this machine replaced by where they are in the build."""
    chosen = {name: value for name, value in settings.items() if name in PASSED_ON}
    if "default-timeout" in chosen:
        chosen.setdefault("timeout", chosen.pop("default-timeout"))
    found = settings.get("cert") or environment.get("SSL_CERT_FILE") or environment.get("REQUESTS_CA_BUNDLE")
    certificates = Path(found) if found and Path(found).is_file() else None
    if certificates:
        chosen["cert"] = CERTIFICATES
    links: list[str] = []
    mounts: list[tuple[Path, str]] = []
    for link in chosen.get("find-links", "").split():
        if Path(link).is_dir():
            mounts.append((Path(link), f"/build/wheels-{len(mounts)}"))
            link = mounts[-1][1]
        links.append(link)
    if links:
        chosen["find-links"] = " ".join(links)
    lines = ["[global]"]
    for name, value in sorted(chosen.items()):
        lines.append(f"{name} = " + "\n    ".join(value.split()))
    return PipSettings("\n".join(lines) + "\n", certificates, tuple(mounts))
