"""What matters for the reference: some rows of its sample explained once by the code that explains now.

<data>/explanations/reference.json    kept for code and background; another code, and it is made anew

Asked of the model's server like any explanation that somebody waits for, on a thread of its own, a few rows
at a time. Must not keep anything else from being explained.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.explained import ID
from modelwarden_server.explanations.ask import Asker, Planned, Wish
from modelwarden_server.explanations.space import ImportanceSpace
from modelwarden_server.web import Refusal

log = logging.getLogger(__name__)
MOST_ROWS: Final = 200
FEWEST_ROWS: Final = 20
"""Below, nothing is said of drift."""
_AT_ONCE: Final = 10
_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 60.0


@dataclass(frozen=True)
class ReferenceImportance:
    """Mean |value| of each input over rows of the reference and outputs. `version`: of what it was made."""

    version: str
    kind: str
    rows: int
    inputs: tuple[str, ...]
    means: tuple[float, ...]


@dataclass(frozen=True)
class Background:
    """The reference's sample in use, and what explains it."""

    planned: Planned
    path: Path


@dataclass
class ReferenceRanks:
    """Of one cell. `wanted` gives what to explain while a pod can, else None."""

    folder: Path
    asker: Asker
    space: ImportanceSpace
    wanted: Callable[[], Background | None]
    _known: ReferenceImportance | None = field(default=None, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _wake: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._known = self._read()
        self._thread = threading.Thread(target=self._run, name="reference-importance", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being asked is left alone (a daemon: it ends with the process)."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def known(self) -> ReferenceImportance | None:
        """What is known of the code that explains now, or explained last."""
        return self._known

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                wanted = self.wanted()
                if wanted is not None and (
                    self._known is None or self._known.version != wanted.planned.version
                ):
                    self._make(wanted)
            except (Refusal, OSError, pa.ArrowException) as error:
                log.info("the reference is not explained yet: %s", type(error).__name__)
                self._stopping.wait(_AGAIN_SECONDS)
            except Exception:  # the thread's edge: nothing else depends on it
                log.exception("the reference cannot be explained")
                self._stopping.wait(10 * _AGAIN_SECONDS)
            self._wake.wait(5.0)
            self._wake.clear()

    def _make(self, wanted: Background) -> None:
        rows = self._rows(wanted.path)
        sums = np.zeros(len(self.space.inputs))
        counted: dict[str, int] = {}
        parts = []
        for start in range(0, rows.num_rows, _AT_ONCE):
            if self._stopping.is_set():
                return
            answer, _ = self.asker.ask(rows.slice(start, _AT_ONCE), Wish(seconds=_SECONDS), patience=_SECONDS)
            if not wanted.planned.made(answer):
                raise OSError("the pods still run other code")
            for row in answer.rows.to_pylist():
                if row["failure"] is None:
                    kind = f"{row['algorithm']}{' margin' if row['units'] == 'margin' else ''}"
                    counted[kind] = counted.get(kind, 0) + 1
                    parts.append((kind, row["values"], len(answer.outputs)))
        if not counted or max(counted.values()) < min(FEWEST_ROWS, rows.num_rows):
            raise OSError("too few rows of the reference could be explained")
        most = max(counted, key=lambda kind: counted[kind])
        for kind, values, outputs in parts:
            if kind == most:
                table = np.abs(np.asarray(values, dtype=np.float64)).reshape(outputs, -1)
                sums += np.nan_to_num(table).mean(axis=0)
        found = ReferenceImportance(
            wanted.planned.version,
            most,
            counted[most],
            self.space.inputs,
            tuple((sums / counted[most]).tolist()),
        )
        make_folder(self.folder)
        replace_file(self._file, msgspec.json.encode(found))
        self._known = found

    def _rows(self, path: Path) -> pa.RecordBatch:
        """Rows spread over the sample."""
        with pa.ipc.open_file(path) as reader:
            table = reader.read_all()
        step = max(1, table.num_rows // MOST_ROWS)
        chosen = table.select(list(self.space.inputs)).take(np.arange(0, table.num_rows, step)[:MOST_ROWS])
        ids = pa.array([f"reference-{place}" for place in range(chosen.num_rows)], pa.string())
        columns = [ids, *(column.combine_chunks() for column in chosen.columns)]
        return pa.RecordBatch.from_arrays(columns, names=[ID, *self.space.inputs])

    @property
    def _file(self) -> Path:
        return self.folder / "reference.json"

    def _read(self) -> ReferenceImportance | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=ReferenceImportance)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
