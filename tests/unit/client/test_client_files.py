"""Rows out of files: each kind read whole and in order, each broken one refused with its place."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelwarden.client import files
from modelwarden.client.errors import ClientError

ROWS = [{"id": n, "code": f"{n:02}"} for n in range(7)]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind in {"parquet", "dat"}:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "csv":
        path.write_text("id,code\n" + "".join(f"{row['id']},{row['code']}\n" for row in ROWS))
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    return path


@pytest.mark.parametrize("kind", ["parquet", "dat", "csv", "json", "jsonl", "ndjson"])
def test_every_kind_of_file_gives_the_same_rows(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE_ROWS", 3)
    read = []
    for piece in files.pieces(write(tmp_path, kind), text_columns=["code"]):
        read += piece.to_pylist() if isinstance(piece, pa.Table) else piece
    assert read == ROWS


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("rows.txt", b"a,b\n1,2\n", "neither parquet"),
        ("cut.parquet", b"PAR1 and then nothing", "parquet"),
        ("broken.jsonl", b'{"id": 1}\n{"id": \n', "line 2"),
        ("list.jsonl", b"[1]\n", "line 1"),
        ("object.json", b'{"id": 1}', "not a list"),
        ("numbers.json", b"[1]", "row 0"),
        ("broken.json", b"[{", "not JSON"),
        ("ragged.csv", b"a,b\n1\n", "CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClientError, match=said):
        list(files.pieces(tmp_path / name))


def test_a_missing_file_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="not a file"):
        list(files.pieces(tmp_path / "nothing.csv"))
