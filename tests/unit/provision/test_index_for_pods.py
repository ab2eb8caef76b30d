"""The machine's package index as its clusters are told of it: credentials apart from addresses."""

from pathlib import Path

import pytest

from testbed.package_index import translated


def test_credentials_go_into_a_secret_and_nowhere_else(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    told = translated(
        {
            "index-url": "https://ann:s%40crt@index.example/simple",
            "extra-index-url": "https://other.example/simple https://bob:pw@third.example:8443/simple",
            "cert": str(bundle),
        },
        {"HTTPS_PROXY": "proxy.example:3128"},
    )
    assert told.values == {
        "url": "https://index.example/simple",
        "extraUrls": ["https://other.example/simple", "https://third.example:8443/simple"],
        "proxy": "http://proxy.example:3128",
        "caBundleRef": {"name": "package-index", "key": "ca.crt"},
        "credentialsSecretRef": {"name": "package-index"},
    }
    assert told.netrc == (
        "machine index.example login ann password s@crt\nmachine third.example login bob password pw\n"
    )
    assert "s@crt" not in repr(told)
    assert "pw" not in "".join(told.helm)
    config, secret = told.objects("risk")
    assert (config["data"], secret["stringData"]) == ({"ca.crt": "certificates"}, {"netrc": told.netrc})
    assert secret["metadata"]["namespace"] == "risk"


def test_a_machine_without_settings_says_nothing() -> None:
    told = translated({}, {})
    assert (told.values, told.objects("risk"), told.left_out) == ({}, [], ())


@pytest.mark.parametrize(
    "settings",
    [
        {"find-links": "/wheels"},
        {"index-url": "http://127.0.0.1:3141/simple"},
        {"proxy": "http://localhost:3128"},
        {"proxy": "http://me:pw@proxy.example:3128"},
    ],
)
def test_what_pods_cannot_have_is_said(settings: dict[str, str]) -> None:
    told = translated(settings, {})
    assert len(told.left_out) == 1
    assert "pw" not in str(told.values)
