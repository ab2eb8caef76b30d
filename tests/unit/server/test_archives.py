"""Archives of users: what is taken is unpacked as it is, and every trick is refused before it costs
anything."""

import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.archives import (
    ArchiveError,
    ArchiveLimits,
    ArchiveTooLargeError,
    check_zip,
    module_files,
    read_zipped,
    unpack_tar,
    unpack_zip,
)

LIMITS = ArchiveLimits(packed_bytes=200_000, unpacked_bytes=1_000_000, entries=50)
ENTRY = [module_files("entrypoint")]


def zipped(*files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return content


def odd(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


def raw(name: bytes) -> io.BytesIO:
    """An entry of a name that the library would not write."""
    placeholder = b"n" * len(name)
    return io.BytesIO(zipped((placeholder.decode(), b"x")).getvalue().replace(placeholder, name))


def twice() -> io.BytesIO:
    return io.BytesIO(zipped(("b.py", b"1"), ("c.py", b"2")).getvalue().replace(b"c.py", b"b.py"))


def changed(content: io.BytesIO, change: Callable[[bytearray], None]) -> io.BytesIO:
    data = bytearray(content.getvalue())
    change(data)
    return io.BytesIO(bytes(data))


def set_flag(data: bytearray) -> None:
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1


def claim_other_size(data: bytearray) -> None:
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<L", 5)


def test_a_project_is_unpacked_as_it_is(tmp_path: Path) -> None:
    content = zipped(
        ("entrypoint.py", b"def predict(x): ..."), ("lib/a.py", b""), ("weights.bin", os.urandom(5000))
    )
    checked = unpack_zip(content, tmp_path / "files", LIMITS, ENTRY)
    assert [file.path for file in checked.files] == ["entrypoint.py", "lib/a.py", "weights.bin"]
    assert checked.bytes == 5000 + 19
    assert "lib/a.py" in checked
    assert (tmp_path / "files" / "entrypoint.py").read_bytes() == b"def predict(x): ..."
    assert (tmp_path / "files" / "lib" / "a.py").stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [tmp_path / "files"]


def test_what_file_managers_add_is_left_out() -> None:
    content = zipped(
        ("entrypoint.py", b""), ("__MACOSX/._entrypoint.py", b"x"), ("data/.DS_Store", b"x"), ("empty/", b"")
    )
    assert [file.path for file in check_zip(content, LIMITS, ENTRY).files] == ["entrypoint.py"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_the_usual_ways_to_pack_are_known(tmp_path: Path, method: int) -> None:
    unpack_zip(zipped(("a", b"x" * 100), method=method), tmp_path / "files", LIMITS)
    assert (tmp_path / "files" / "a").read_bytes() == b"x" * 100


@pytest.mark.parametrize(
    ("import_path", "names"),
    [("entrypoint", ["entrypoint.py"]), ("entrypoint", ["entrypoint/__init__.py"]), ("a.b:run", ["a/b.py"])],
)
def test_the_module_may_be_a_file_or_a_package(import_path: str, names: list[str]) -> None:
    check_zip(zipped(*((name, b"") for name in names)), LIMITS, [module_files(import_path)])


def test_a_nested_folder_is_said_clearly() -> None:
    with pytest.raises(
        ArchiveError, match="in the folder 'project/credit', it must be at the root: zip what is in"
    ):
        check_zip(zipped(("project/credit/entrypoint.py", b"")), LIMITS, ENTRY)
    with pytest.raises(ArchiveError, match=r"has no entrypoint.py at its root"):
        check_zip(zipped(("other.py", b"")), LIMITS, ENTRY)


LINK = odd("link", stat.S_IFLNK | 0o777)
REFUSED = {
    "climbs": (zipped(("../evil.py", b"")), "no path below its root"),
    "climbs inside": (zipped(("a/../../evil.py", b"")), "no path below its root"),
    "from the root": (zipped(("/etc/passwd", b"")), "no path below its root"),
    "a drive": (zipped(("C:/evil.py", b"")), "no path below its root"),
    "backslashes": (raw(b"..\\evil.py"), "no path below its root"),
    "a name with a line": (raw(b"a\nb.py"), "no path below its root"),
    "a name cut by zero": (zipped(("a//b.py", b"")), "no path below its root"),
    "a dot": (zipped(("./a.py", b"")), "no path below its root"),
    "a long name": (zipped(("a" * 300, b"")), "too long"),
    "a long path": (zipped(("a/" * 600 + "b", b"")), "too long"),
    "a link": (zipped((LINK, b"/etc/passwd")), "a link or no file"),
    "a device": (zipped((odd("d", stat.S_IFCHR | 0o600), b"")), "a link or no file"),
    "a pipe": (zipped((odd("p", stat.S_IFIFO | 0o600), b"")), "a link or no file"),
    "one name twice": (twice(), "two files"),
    "a file that is a folder": (zipped(("a", b""), ("a/b", b"")), "a file and a folder"),
    "nothing": (zipped(), "no files"),
    "encrypted": (changed(zipped(("a", b"x")), set_flag), "encrypted"),
    "no zip": (io.BytesIO(b"PK is how it starts"), "no zip file"),
    "empty": (io.BytesIO(), "no zip file"),
    "cut": (io.BytesIO(zipped(("a", b"x" * 1000)).getvalue()[:-30]), "no zip file"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_zip_that_is_no_project_is_refused(tmp_path: Path, content: io.BytesIO, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        unpack_zip(content, tmp_path / "files", LIMITS)
    assert not list(tmp_path.iterdir())


def many_claimed(data: bytearray) -> None:
    at = data.rindex(b"PK\x05\x06")
    data[at + 8 : at + 12] = struct.pack("<HH", 60_000, 60_000)


TOO_LARGE = {
    "as sent": zipped(("a", os.urandom(210_000))),
    "a bomb": zipped(("a", bytes(1_000_001))),
    "a bomb in pieces": zipped(*((f"{n}", bytes(200_000)) for n in range(6))),
    "a bomb of another kind": zipped(("a", bytes(5_000_000)), method=zipfile.ZIP_BZIP2),
    "too many files": zipped(*((f"{n}", b"") for n in range(51))),
    "many files claimed": changed(zipped(("a", b"")), many_claimed),
}


@pytest.mark.parametrize("content", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_zip_that_is_too_large_is_refused_as_such(tmp_path: Path, content: io.BytesIO) -> None:
    with pytest.raises(ArchiveTooLargeError):
        unpack_zip(content, tmp_path / "files", LIMITS)
    assert not list(tmp_path.iterdir())


def test_an_entry_larger_than_it_says_is_never_unpacked_further(tmp_path: Path) -> None:
    lying = changed(zipped(("a", bytes(900_000))), claim_other_size)
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unpack_zip(lying, tmp_path / "files", LIMITS)
    assert not list(tmp_path.iterdir())


def test_one_file_is_read_up_to_a_bound() -> None:
    content = zipped(("requirements.txt", b"numpy\n"), ("large", bytes(10_000)))
    assert read_zipped(content, "requirements.txt", 100, LIMITS) == b"numpy\n"
    assert read_zipped(content, "absent", 100, LIMITS) is None
    with pytest.raises(ArchiveTooLargeError):
        read_zipped(content, "large", 100, LIMITS)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_bytes_changed_anywhere_are_an_archive_or_a_sentence(noise: bytes, at: int) -> None:
    content = zipped(("entrypoint.py", b"def predict(x): ..."), ("b", bytes(1000))).getvalue()
    broken = io.BytesIO(content[:at] + noise + content[at + len(noise) :])
    try:
        checked = check_zip(broken, LIMITS)
        read_zipped(broken, checked.files[0].path, 10_000, LIMITS)
    except ArchiveError as error:
        assert "\n" not in str(error)  # noqa: PT017 - an archive is fine, too


def tarred(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for member, data in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    content.seek(0)
    return content


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o4777
    return info


def test_an_environment_is_unpacked_without_its_modes(tmp_path: Path) -> None:
    content = tarred((member("numpy", tarfile.DIRTYPE), b""), (member("./numpy/a.so"), b"\x7fELF"))
    checked = unpack_tar(content, tmp_path / "environment", LIMITS)
    assert [file.path for file in checked.files] == ["numpy/a.so"]
    place = tmp_path / "environment" / "numpy" / "a.so"
    assert place.read_bytes() == b"\x7fELF"
    assert place.stat().st_mode & 0o7777 == 0o644


BAD_TARS = {
    "climbs": (tarred((member("../evil"), b"x")), "no path below"),
    "from the root": (tarred((member("/etc/evil"), b"x")), "no path below"),
    "a link": (tarred((member("l", tarfile.SYMTYPE, "/etc"), b"")), "a link"),
    "a hard link": (tarred((member("l", tarfile.LNKTYPE, "/etc/shadow"), b"")), "a link"),
    "a device": (tarred((member("d", tarfile.CHRTYPE), b"")), "a link or no file"),
    "twice": (tarred((member("a"), b"1"), (member("a"), b"2")), "two files"),
    "a file that is a folder": (tarred((member("a"), b"1"), (member("a/b"), b"2")), "a file and a folder"),
    "too large": (tarred((member("a"), bytes(1_000_001))), "more than"),
    "too many": (tarred(*((member(f"{n}"), b"") for n in range(51))), "the most is 50"),
    "no tar": (io.BytesIO(b"x" * 2000), "cannot be unpacked"),
    "cut": (io.BytesIO(tarred((member("a"), os.urandom(9000))).getvalue()[:4000]), "cannot be unpacked"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_TARS.values(), ids=BAD_TARS.keys())
def test_a_tar_that_is_no_environment_leaves_nothing_behind(
    tmp_path: Path, content: io.BytesIO, reason: str
) -> None:
    with pytest.raises(ArchiveError, match=reason):
        unpack_tar(content, tmp_path / "environment", LIMITS)
    assert not list(tmp_path.iterdir())
