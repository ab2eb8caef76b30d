"""Where Python packages come from, and in which images user code runs: for the install, and for one model.

Must not know how they are installed.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from modelwarden.resources.meta import SecretRef
from modelwarden.resources.pod import CaBundleRef
from modelwarden.resources.schema import ResourceModel
from modelwarden.resources.sources import HttpUrl

ImageName = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")]


class PackageIndex(ResourceModel):
    """A package index. What is left out is the install's; what is left out there, the installer's own."""

    url: HttpUrl | None = None
    """Address of the index, as pip's --index-url takes it; without credentials."""
    extra_urls: Annotated[tuple[HttpUrl, ...], Field(max_length=10)] = ()
    """Addresses of further indexes that are asked as well, as pip's --extra-index-url takes them."""
    ca_bundle_ref: CaBundleRef | None = None
    """ConfigMap, in the namespace of the model, with the certificates in PEM form that are trusted instead of
    the public ones."""
    proxy: HttpUrl | None = None
    """Proxy through which the indexes are reached, without credentials."""
    credentials_secret_ref: SecretRef | None = None
    """Secret, in the namespace of the model, whose key netrc holds a netrc file: a line "machine HOST login
    USER password PASSWORD" for each index. It must carry the label
    modelwarden.dev/usable-by-models: "true"."""


class Runtime(ResourceModel):
    """An image of the model server with a Python version of its own."""

    python_version: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,2}$")]
    """The version, as in 3.10."""
    image: ImageName
    """The image: made from the Dockerfile of the model server, with another base image."""


def index_over(base: PackageIndex, own: PackageIndex | None) -> PackageIndex:
    """A model's index over the install's, field by field. One with an address of its own takes nothing of the
    install's that belongs to the install's address: neither credentials nor further indexes."""
    if own is None:
        return base
    inherited = base if own.url is None else PackageIndex(ca_bundle_ref=base.ca_bundle_ref, proxy=base.proxy)
    return PackageIndex(
        url=own.url or inherited.url,
        extra_urls=own.extra_urls or inherited.extra_urls,
        ca_bundle_ref=own.ca_bundle_ref or inherited.ca_bundle_ref,
        proxy=own.proxy or inherited.proxy,
        credentials_secret_ref=own.credentials_secret_ref or inherited.credentials_secret_ref,
    )
