"""The journal of ids makes a start quick and is never believed against the table."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelwarden_server.schema.digest import Words
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.id_journal import IdJournal
from modelwarden_server.store.parquet import file_name


def file(version: int, rows: int) -> TableFile:
    return TableFile(version, file_name(version), rows, 100)


def identities(file: TableFile) -> Words:
    return np.arange(4 * file.rows, dtype=np.uint64).reshape(-1, 4) + np.uint64(file.version * 1000)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[TableFile]]:
    path, files = tmp_path / "index" / "ids", [file(1, 3), file(2, 1), file(4, 2)]
    journal = IdJournal(path)
    for one in files:
        journal.append(one, [identities(one)[:1], identities(one)[1:]])
    return path, files


def loaded(path: Path, files: list[TableFile]) -> tuple[list[list[int]], set[int]]:
    found, covered = IdJournal(path).load(files)
    return [row for part in found for row in part.tolist()], covered


def rows_of(files: list[TableFile]) -> list[list[int]]:
    return [row for one in files for row in identities(one).tolist()]


def test_what_was_written_is_read(written: tuple[Path, list[TableFile]]) -> None:
    path, files = written
    assert loaded(path, files) == (rows_of(files), {1, 2, 4})


def test_there_is_nothing_in_a_journal_that_is_not_there(tmp_path: Path) -> None:
    assert loaded(tmp_path / "none", [file(1, 1)]) == ([], set())
    (tmp_path / "empty").touch()
    assert loaded(tmp_path / "empty", [file(1, 1)]) == ([], set())


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-1],
        lambda data: data[:-64] + bytes([data[-64] ^ 1]) + data[-63:],
        lambda data: data[: -64 - 20] + b"x" + data[-64 - 19 :],
        lambda data: data[:-64] + bytes(64),
    ],
    ids=["short", "row damaged", "header damaged", "zeros"],
)
def test_from_the_first_damage_on_nothing_is_believed_and_the_rest_can_be_written_again(
    written: tuple[Path, list[TableFile]], harm: Callable[[bytes], bytes]
) -> None:
    path, files = written
    path.write_bytes(harm(path.read_bytes()))
    assert loaded(path, files) == (rows_of(files[:2]), {1, 2})
    IdJournal(path).append(files[2], [identities(files[2])])
    assert loaded(path, files) == (rows_of(files), {1, 2, 4})


def test_a_frame_whose_file_is_another_one_now_is_not_believed(written: tuple[Path, list[TableFile]]) -> None:
    """The last version of the table was torn, taken back, and written anew with other rows."""
    path, files = written
    again = [*files[:2], file(4, 2)]
    assert loaded(path, again) == (rows_of(files[:2]), {1, 2})


def test_a_frame_with_another_number_of_rows_than_the_table_is_not_believed(
    written: tuple[Path, list[TableFile]],
) -> None:
    path, files = written
    again = [files[0], TableFile(2, files[1].name, 9, 100), files[2]]
    assert loaded(path, again) == (rows_of(files[:1]), {1})


def test_a_full_disk_is_no_error_and_leaves_no_hole(
    written: tuple[Path, list[TableFile]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, files = written
    journal, more = IdJournal(path), [file(5, 1), file(6, 1)]
    real = Path.open

    def full(*_arguments: Any, **_more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    journal.append(more[0], [identities(more[0])])
    monkeypatch.setattr(Path, "open", real)
    journal.append(more[1], [identities(more[1])])
    assert loaded(path, [*files, *more]) == (rows_of(files), {1, 2, 4})
