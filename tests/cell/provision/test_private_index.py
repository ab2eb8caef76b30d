"""Packages from an index that asks for a name and a password, under a certificate of its own authority: over
real TLS on loopback, with the variables that the operator gives to the Job.
"""

import base64
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tiny_wheels import wheel

from modelwarden_server.jobs.installer import Installer, NotInstalledError

LOGIN = "ann", "s3cret"


@dataclass
class Index:
    """A package index that answers only who knows the password. `asked` holds the paths it was asked for."""

    folder: Path
    authority: Path
    url: str = ""
    refused: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("index")
    for name in ("numpy", "secret_sauce"):
        wheel(folder, name, "1.0", "")
    found = Index(folder, folder / "ca.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder, found.authority))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"https://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def handler(index: Index) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                index.refused += 1
                self._answer(401, b"who are you?")
                return
            index.asked.append(self.path)
            name = self.path.strip("/").rpartition("/")[2]
            if name.endswith(".whl"):
                self._answer(200, (index.folder / name).read_bytes())
                return
            files = [f for f in index.folder.glob("*.whl") if f.name.startswith(name.replace("-", "_"))]
            self._answer(200, "".join(f'<a href="/files/{f.name}">{f.name}</a>' for f in files).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Quiet."""

    return Handler


def certificate(folder: Path, authority: Path) -> Path:
    """Key and certificate of 127.0.0.1, signed by an authority whose certificate is written too."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of the test")])
    signed = built(root, root_key.public_key(), root).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    authority.write_bytes(signed.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "index")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    own = built(subject, key.public_key(), root).add_extension(names, critical=False)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + own.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path = folder / "server.pem"
    path.write_bytes(text)
    return path


def built(subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )


def surroundings(index: Index, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "pip.conf").touch()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {LOGIN[0]} password {LOGIN[1]}\n")
    told = {"PIP_INDEX_URL": index.url, "PIP_CERT": str(index.authority), "NETRC": str(netrc)}
    return {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_RETRIES": "0", **told}


def install(environ: dict[str, str], work: Path) -> list[str]:
    lines: list[str] = []
    Installer(environ).install("secret-sauce==1.0\n", work, work / "packages", lines.append)
    return lines


def test_a_private_index_is_reached_with_the_login_of_the_netrc_file(index: Index, tmp_path: Path) -> None:
    lines = install(surroundings(index, tmp_path), tmp_path)
    assert (tmp_path / "packages" / "secret_sauce.py").is_file()
    assert any(path.endswith("secret_sauce-1.0-py3-none-any.whl") for path in index.asked)
    assert LOGIN[1] not in "\n".join(lines)


def test_the_pods_own_certificates_are_trusted_beside_the_public_ones(index: Index, tmp_path: Path) -> None:
    environ = surroundings(index, tmp_path)
    environ["MODELWARDEN_CA_BUNDLE"] = environ.pop("PIP_CERT")
    install(environ, tmp_path)
    assert (tmp_path / "trusted.pem").read_bytes().endswith(index.authority.read_bytes())


def test_without_a_login_nothing_is_installed(index: Index, tmp_path: Path) -> None:
    environ = {k: v for k, v in surroundings(index, tmp_path).items() if k != "NETRC"}
    with pytest.raises(NotInstalledError, match="No matching distribution"):
        install(environ, tmp_path)
