"""Images as files, Dockerfiles as we write them, and pip's settings on their way into a build."""

import io
import json
import os
import platform
import tarfile
import time
from pathlib import Path

import pytest

from testbed.dependencies import installed_packages
from testbed.dockerfile import Copy, code_files, parse, pins
from testbed.errors import SetupError
from testbed.image_register import KEPT, Register
from testbed.images import DOCKERFILES, PROJECT
from testbed.oci import LAYER, Image, Layout, empty_config, write_archive, write_files
from testbed.pip_settings import CERTIFICATES, parse_list, translated

DOCKERFILE = """\
ARG BASE_IMAGE=python
FROM ${BASE_IMAGE} AS dependencies
ARG EXTRA=operator
RUN pip install \\
    things
FROM dependencies
# Our code.
COPY code /app/code
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def layer_of(layout: Layout, **files: str) -> Image:
    content = {name: (text.encode(), 0o644) for name, text in files.items()}
    layer = layout.write_layer(lambda file: write_files(file, content))
    return layout.write_image("localhost/test:1", empty_config(), [layer])


def archive(layout: Layout, image: Image, leave_out: set[str]) -> tarfile.TarFile:
    buffer = io.BytesIO()
    write_archive(buffer, layout, image, leave_out)
    return tarfile.open(fileobj=io.BytesIO(buffer.getvalue()))


def test_the_same_files_make_the_same_image(layout: Layout) -> None:
    assert layer_of(layout, a="1", b="2") == layer_of(layout, b="2", a="1")


def test_another_file_makes_another_image(layout: Layout) -> None:
    assert layer_of(layout, a="1") != layer_of(layout, a="2")


def test_a_layers_files_belong_to_root_and_carry_no_time(layout: Layout) -> None:
    image = layer_of(layout, a="1")
    with tarfile.open(layout.path(layout.contents(image)[-1])) as tar:
        (entry,) = tar.getmembers()
    assert (entry.uid, entry.gid, entry.mtime, entry.mode) == (0, 0, 0, 0o644)


def test_an_archive_holds_every_blob_under_its_digest(layout: Layout) -> None:
    image = layer_of(layout, a="1")
    with archive(layout, image, set()) as tar:
        blobs = {name for name in tar.getnames() if name.startswith("blobs/")}
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
    assert blobs == {f"blobs/{each.digest.replace(':', '/')}" for each in layout.contents(image)}
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "localhost/test:1"


def test_an_archive_leaves_out_what_the_receiver_has(layout: Layout) -> None:
    image = layer_of(layout, a="1")
    present = {each.digest for each in layout.contents(image) if each.kind == LAYER}
    with archive(layout, image, present) as tar:
        sent = {name.replace("blobs/sha256/", "sha256:") for name in tar.getnames()}
    assert not sent & present
    assert image.manifest.digest in sent


def test_the_register_keeps_the_newest_and_their_blobs(layout: Layout) -> None:
    register = Register(layout)
    long_ago = time.time() - 86400
    images = []
    for number in range(KEPT + 2):
        images.append(layer_of(layout, a=str(number)))
        register.note("group", str(number), images[-1])
        for blob in layout.blobs.iterdir():
            os.utime(blob, (long_ago, long_ago))
        entry = layout.folder / "register" / "group" / f"{number}.json"
        os.utime(entry, (long_ago + number, long_ago + number))
    register.note("group", "last", layer_of(layout, a="last"))
    assert "0" not in register.keys("group")
    assert not layout.holds(images[0])
    assert register.find("group", str(KEPT + 1), "localhost/test:1") == images[-1]


def test_an_image_with_a_lost_blob_is_built_again(layout: Layout) -> None:
    register, image = Register(layout), layer_of(layout, a="1")
    register.note("group", "key", image)
    layout.path(layout.contents(image)[-1]).unlink()
    assert register.find("group", "key", "localhost/test:1") is None


@pytest.mark.parametrize("which", DOCKERFILES)
def test_our_dockerfiles_can_be_built_the_quick_way(which: str) -> None:
    dockerfile = parse(PROJECT / dict(DOCKERFILES)[which])  # type: ignore[index]
    files = code_files(PROJECT, dockerfile.copies)
    assert any(name.endswith("modelwarden/resources/__init__.py") for name in files)
    assert not any("__pycache__" in name for name in files)


def test_a_last_stage_that_does_more_than_copy_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(DOCKERFILE + "RUN touch /late\n")
    with pytest.raises(SetupError, match="RUN touch /late"):
        parse(path)


def test_a_dockerfile_says_which_extra_it_installs(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(DOCKERFILE)
    parsed = parse(path)
    assert parsed.extra == "operator"
    assert parsed.copies == (Copy("code", "/app/code"),)


def project(folder: Path, *, comment: str = "", extra: str = "kopf", command: str = "things") -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(comment + DOCKERFILE.replace("things", command))
    (folder / "pyproject.toml").write_text(f'[project.optional-dependencies]\noperator = ["{extra}"]\n')
    return folder


@pytest.mark.parametrize(
    ("change", "same"),
    [({"comment": "# why\n"}, True), ({"extra": "kopf>=2"}, False), ({"command": "other"}, False)],
)
def test_dependencies_are_built_again_only_for_what_changes_them(
    tmp_path: Path, change: dict[str, str], same: bool
) -> None:
    before, after = project(tmp_path / "before"), project(tmp_path / "after", **change)
    keys = [parse(each / "Dockerfile").dependencies_key(each) for each in (before, after)]
    assert (keys[0] == keys[1]) is same


def test_the_compiled_parser_goes_into_images_that_take_it_and_can_run_it(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    shelf = folder / "native" / "dist"
    shelf.mkdir(parents=True)
    plain = parse(folder / "Dockerfile")
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("ARG EXTRA", "ARG NATIVE=\nARG EXTRA"))
    taking = parse(folder / "Dockerfile")
    keys = [taking.dependencies_key(folder)]
    (shelf / "parser-1-cp311-abi3-macosx_11_0_arm64.whl").write_text("foreign")
    assert taking.build_arguments(folder) == []
    assert taking.dependencies_key(folder) == keys[0]
    wheel = shelf / f"parser-1-cp311-abi3-manylinux_2_34_{platform.machine()}.whl"
    for content in ("old", "new"):
        wheel.write_text(content)
        keys.append(taking.dependencies_key(folder))
    assert len(set(keys)) == 3
    assert taking.build_arguments(folder) == [f"--build-arg=NATIVE={wheel.name}"]
    assert plain.build_arguments(folder) == []


def test_the_cells_image_takes_the_compiled_parser() -> None:
    takes = {which: parse(PROJECT / path).native for which, path in DOCKERFILES.items()}
    assert takes == {"operator": False, "model-server": True}


def test_only_pins_of_installed_packages_count() -> None:
    constraints = "kopf==1.45.2\nruff==0.14.0\nPyYAML==6.0.3\npydantic-core==2.1\n"
    assert pins(constraints, {"kopf", "pyyaml", "pydantic-core"}) == [
        "PyYAML==6.0.3",
        "kopf==1.45.2",
        "pydantic-core==2.1",
    ]


def test_packages_in_a_layer_are_known_by_what_pip_leaves(layout: Layout) -> None:
    files = {
        "opt/lib/site-packages/Pydantic_Core-2.1.dist-info/METADATA": (b"", 0o644),
        "opt/other": (b"", 0o644),
    }
    layer = layout.write_layer(lambda file: write_files(file, files))
    assert installed_packages(layout.path(layer)) == {"pydantic-core"}


def test_pips_environment_wins_over_its_files() -> None:
    listed = "global.index-url='https://one.example/simple'\n:env:.index-url='https://two.example/simple'\n"
    assert parse_list(listed) == {"index-url": "https://two.example/simple"}


def test_a_build_gets_pips_settings_with_paths_of_its_own(tmp_path: Path) -> None:
    bundle, wheels = tmp_path / "ca.pem", tmp_path / "wheels"
    bundle.write_text("certificate")
    wheels.mkdir()
    settings = {
        "cert": str(bundle),
        "find-links": f"{wheels} https://wheels.example/",
        "index-url": "https://pypi.example/simple",
        "cache-dir": "/home/somebody/.cache",
    }
    passed_on = translated(settings, {})
    assert passed_on.certificates == bundle
    assert passed_on.mounts == ((wheels, "/build/wheels-0"),)
    assert f"cert = {CERTIFICATES}" in passed_on.config
    assert "index-url = https://pypi.example/simple" in passed_on.config
    assert str(tmp_path) not in passed_on.config
    assert "cache-dir" not in passed_on.config


def test_without_settings_a_build_gets_none() -> None:
    assert translated({}, {}).config == "[global]\n"
