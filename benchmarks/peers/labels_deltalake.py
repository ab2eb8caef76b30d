"""Late labels by deltalake's MERGE into the table of the rows, which rewrites every file that it touches.
Each round starts from the same table.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable

import table_rows
from deltalake import DeltaTable, write_deltalake
from turns import Round, serve

ROWS = 1_000_000
LABELS = 100_000
FILES = 10


def prepare(scale: float) -> tuple[Round, Callable[[], None]]:
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    pristine, path = f"{folder.name}/pristine", f"{folder.name}/merged"
    every = round(ROWS * scale / FILES)
    for place in range(FILES):
        write_deltalake(pristine, table_rows.rows(every, place * every), mode="append")
    labels = table_rows.labels(round(LABELS * scale), every * FILES, seed=1)

    def afresh() -> None:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(pristine, path)

    def once() -> int:
        merged = (
            DeltaTable(path)
            .merge(labels, f"t.{table_rows.ID} = s.{table_rows.ID}", source_alias="s", target_alias="t")
            .when_matched_update({name: f"s.{name}" for name in ("truth", "ground_truth_timestamp")})
            .execute()
        )
        if merged["num_target_rows_updated"] != labels.num_rows:
            raise AssertionError(f"merged {merged}")
        return labels.num_rows

    return once, afresh


if __name__ == "__main__":
    serve(prepare, "deltalake")
