"""The package index that this machine's pip uses, handed to a cluster at run time: chart values, and objects.

Pods reach what the machine reaches (see `network`); what they lack is to know where, whom to trust and who
they are. All of it comes from the client's own settings when it is asked for, and is written nowhere else
than into the cluster: never into a file of the project.
"""

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from testbed.pip_settings import parse_list

NAME = "package-index"
CA_KEY = "ca.crt"
_LABELS = {"modelwarden.dev/usable-by-models": "true"}
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


@dataclass(frozen=True)
class IndexForPods:
    """`values` is what the chart calls packageIndex; `certificates` and `netrc` are to be in each model's
    namespace (see `objects`); `left_out` says in sentences what pods cannot have of the settings.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    certificates: str | None = None
    netrc: str | None = field(default=None, repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def helm(self) -> list[str]:
        """Arguments for helm. They hold no credentials."""
        return [f"--set-json=packageIndex={json.dumps(self.values)}"]

    def objects(self, namespace: str) -> list[dict[str, Any]]:
        """The ConfigMap and the Secret that the values name, for one namespace."""
        meta = {"name": NAME, "namespace": namespace, "labels": _LABELS}
        found: list[dict[str, Any]] = []
        if self.certificates is not None:
            found.append(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": meta,
                    "data": {CA_KEY: self.certificates},
                }
            )
        if self.netrc is not None:
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta}
            found.append({**secret, "stringData": {"netrc": self.netrc}})
        return found


def index_for_pods() -> IndexForPods:
    """From the files and variables of this process's pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return translated(parse_list(listed), os.environ)


def translated(settings: Mapping[str, str], environment: Mapping[str, str]) -> IndexForPods:
    """Pip's settings as pods are told of them: credentials apart from addresses."""
    values: dict[str, Any] = {}
    logins: dict[str, str] = {}
    left_out = [
        f"pip's {name} means nothing to pods"
        for name in ("no-index", "find-links", "trusted-host", "client-cert")
        if settings.get(name)
    ]
    if url := settings.get("index-url"):
        values["url"] = _without_login(url, logins)
    if extra := settings.get("extra-index-url", "").split():
        values["extraUrls"] = [_without_login(each, logins) for each in extra]
    if proxy := settings.get("proxy") or next((v for n in _PROXIES if (v := environment.get(n))), None):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.username:
            left_out.append("the proxy's password: pods are given none")
        values["proxy"] = urlunsplit(parts._replace(netloc=_place(parts)))
    for name, told in [("url", values.get("url")), ("proxy", values.get("proxy"))]:
        if told and _is_loopback(urlsplit(told).hostname or ""):
            left_out.append(f"the {name} of the index is on this machine's loopback, which pods do not reach")
    found = settings.get("cert") or environment.get("SSL_CERT_FILE") or environment.get("REQUESTS_CA_BUNDLE")
    certificates = Path(found).read_text() if found and Path(found).is_file() else None
    if certificates is not None:
        values["caBundleRef"] = {"name": NAME, "key": CA_KEY}
    netrc = "".join(f"machine {host} {login}\n" for host, login in sorted(logins.items())) or None
    if netrc is not None:
        values["credentialsSecretRef"] = {"name": NAME}
    return IndexForPods(values, certificates, netrc, tuple(left_out))


def _without_login(url: str, logins: dict[str, str]) -> str:
    """The address; what stands before the host goes to `logins`, in the form of a netrc file."""
    parts = urlsplit(url)
    if parts.username is not None:
        login, password = unquote(parts.username), unquote(parts.password or "")
        logins[parts.hostname or ""] = f"login {login} password {password}"
    return urlunsplit(parts._replace(netloc=_place(parts)))


def _place(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
