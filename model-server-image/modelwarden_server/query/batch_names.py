"""Which number is which batch, in a small file that is durable before any count of a number is.

Numbers are given in the order of first rows. Must not know what is counted.
"""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.durable import make_folder, replace_file

FILE = "names.json"
NO_BATCH = ""
"""The name under which rows without a batch are counted, where they are counted at all."""


@dataclass
class BatchNames:
    """The numbers of one folder."""

    folder: Path
    _names: list[str] = field(init=False)
    _numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._names = self._read()
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def __len__(self) -> int:
        return len(self._names)

    def all(self) -> list[str]:
        """The names by number."""
        return list(self._names)

    def number(self, name: str) -> int | None:
        """The number of a batch; None for an unknown one."""
        return self._numbers.get(name)

    def numbers_of(self, batches: pa.Array) -> Integers:
        """The number of each row's batch; unknown ones get the next. Rows without one count as NO_BATCH."""
        coded = batches.fill_null(NO_BATCH).dictionary_encode()
        numbers = np.array([self._number(name) for name in coded.dictionary.to_pylist()], dtype=np.int64)
        places = coded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(numbers[places] if len(places) else numbers[:0], dtype=np.int64)

    def keep(self) -> None:
        """Durable when this returns. Raises OSError."""
        make_folder(self.folder)
        if self._read() != self._names:
            replace_file(self.folder / FILE, msgspec.json.encode(self._names))

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return number

    def _read(self) -> list[str]:
        try:
            return msgspec.json.decode((self.folder / FILE).read_bytes(), type=list[str])
        except (OSError, msgspec.DecodeError):
            return []
