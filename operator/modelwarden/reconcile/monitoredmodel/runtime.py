"""In which image a model's user code runs, and with which Python. Pure."""

import re
from dataclasses import dataclass

from modelwarden.reconcile.collaborators import Install
from modelwarden.resources.cell import content_hash
from modelwarden.resources.server_settings import ServerWish

_VERSION = re.compile(r"\s*(\d+)\.(\d+)")


@dataclass(frozen=True)
class ChosenRuntime:
    """`python` names what environments are made by: a version, or an image of the user's own. `note` says, in
    a sentence, why it is not the version that is asked for."""

    image: str
    python: str
    note: str = ""


def runtime_of(wish: ServerWish, install: Install) -> ChosenRuntime:
    """The user's own image; else the install's for the Python asked for; else the install's, with a note."""
    if wish.image is not None:
        return ChosenRuntime(wish.image, f"image-{content_hash(wish.image.encode())[:10]}")
    ours = ChosenRuntime(install.cell_image, install.cell_python)
    asked = wish.python_version
    if asked is None:
        return ours
    found = _VERSION.match(asked)
    version = f"{found[1]}.{found[2]}" if found else asked
    if version == install.cell_python:
        return ours
    for runtime in install.runtimes:
        if runtime.python_version == version:
            return ChosenRuntime(runtime.image, runtime.python_version)
    note = (
        f"Python {asked} is asked for and this install has no image of it: Python {install.cell_python} runs"
        " instead. To change that, add one to the chart's runtimes or name an image of your own"
    )
    return ChosenRuntime(install.cell_image, install.cell_python, note)
