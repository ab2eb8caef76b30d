"""Which slices are sealed: their rows have been retired (or some of them), so their counts are the only
record.

One small file beside the partials: the slices, the profile whose partials hold their counts, and the last
slice whose counts there were told from an older profile's. Must not know what counts are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.durable import make_folder, replace_file

FILE = "sealed.json"


class _Content(msgspec.Struct):
    ranges: list[tuple[int, int]] = []
    keeper: str | None = None
    approximate: int | None = None


@dataclass(frozen=True)
class Sealed:
    """The slices as ranges [first, after the last), ascending; see the module's text for the others."""

    ranges: tuple[tuple[int, int], ...] = ()
    keeper: str | None = None
    approximate: int | None = None

    @property
    def slices(self) -> Integers:
        """Every sealed slice, ascending."""
        parts = [np.arange(low, high, dtype=np.int64) for low, high in self.ranges]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def holds(self, slices: Integers) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which of these slices are sealed."""
        starts = np.array([low for low, _ in self.ranges], dtype=np.int64)
        ends = np.array([high for _, high in self.ranges], dtype=np.int64)
        if not len(starts):
            return np.zeros(len(slices), dtype=np.bool_)
        at = np.searchsorted(starts, slices, side="right") - 1
        return np.asarray((at >= 0) & (slices < ends[np.maximum(at, 0)]))

    def with_slices(self, slices: Iterable[int], keeper: str) -> "Sealed":
        """These slices too; `keeper` holds the counts of all."""
        every = np.union1d(self.slices, np.fromiter(slices, dtype=np.int64))
        breaks = np.flatnonzero(np.diff(every) != 1)
        firsts = every[np.r_[0, breaks + 1]] if len(every) else every
        lasts = every[np.r_[breaks, len(every) - 1]] if len(every) else every
        return replace(
            self, ranges=tuple(zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)), keeper=keeper
        )


@dataclass
class SealedFile:
    """The file in the folder of the partials."""

    folder: Path
    current: Sealed = field(init=False)

    def __post_init__(self) -> None:
        try:
            content = msgspec.json.decode((self.folder / FILE).read_bytes(), type=_Content)
        except (OSError, msgspec.DecodeError):
            content = _Content()
        self.current = Sealed(tuple(content.ranges), content.keeper, content.approximate)

    def keep(self, sealed: Sealed) -> None:
        """Durable when this returns. Raises OSError."""
        make_folder(self.folder)
        content = _Content(list(sealed.ranges), sealed.keeper, sealed.approximate)
        replace_file(self.folder / FILE, msgspec.json.encode(content))
        self.current = sealed
