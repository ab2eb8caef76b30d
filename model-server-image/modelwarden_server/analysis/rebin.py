"""Counts of one profile's cells as counts of another's, for slices whose rows are gone.

A number's cell is an interval: what it holds is spread over the new cells by length, whole rows by the
largest remainder, so that no row is lost or made. Below and above the old reference's range lies what has no
end: it goes to the new cell of the nearest end. The bound: a count between two borders of the new profile is
wrong by at most what the old cells hold that those borders cut, one cell a border (a 256th of the old
reference, in its terms). Categories keep their names; one that the new profile does not list is other or
unseen there. Repeats and pairs depend on cells together and cannot be told again; labels are counted from
their own table: both are left out. Pure.
"""

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.cells import CategoryCells, Cells, NumericCells, PresenceCells
from modelwarden_server.analysis.code_space import CodeSpace
from modelwarden_server.analysis.partials import Integers, SparseCounts, empty, merge, sum_by_key

Shares = npt.NDArray[np.float64]


def rebinned(counts: Integers, old: Cells, new: Cells) -> Integers:
    """Counts of old cells as counts of new ones; nothing where the two have nothing in common."""
    if isinstance(old, NumericCells) and isinstance(new, NumericCells):
        return _numbers(counts, old, new)
    out = np.zeros(new.size, dtype=np.int64)
    if isinstance(old, CategoryCells) and isinstance(new, CategoryCells):
        np.add.at(out, _category_cells(old, new), counts)
    elif isinstance(old, PresenceCells) and isinstance(new, PresenceCells):
        out += counts
    return out


def rebin_slices(part: SparseCounts, old: CodeSpace, new: CodeSpace) -> SparseCounts:
    """The counts of whole slices in the codes of another space."""
    slices = np.unique(part.keys // old.size)
    return merge(
        _one_slice(int(at), part.between(at * old.size, (at + 1) * old.size), old, new) for at in slices
    )


def _one_slice(at: int, part: SparseCounts, old: CodeSpace, new: CodeSpace) -> SparseCounts:
    totals = np.zeros(old.size, dtype=np.int64)
    totals[part.keys % old.size] = part.counts
    out = np.zeros(new.size, dtype=np.int64)
    out[0] = totals[0]
    new.lag_of(out)[:] = old.lag_of(totals)
    before = {profile.column.name: profile for profile in old.columns}
    for profile in new.columns:
        name = profile.column.name
        if name in before:
            found = rebinned(old.cells_of(name, totals), before[name].cells, profile.cells)
            new.cells_of(name, out)[:] = found
    held = np.flatnonzero(out)
    return sum_by_key(at * new.size + held, out[held]) if len(held) else empty()


def _numbers(counts: Integers, old: NumericCells, new: NumericCells) -> Integers:
    out = np.zeros(new.size, dtype=np.int64)
    out[list(new.missing)] = counts[list(old.missing)]
    edges = old.edges
    for cell in np.flatnonzero(counts[: old.intervals]):
        low = edges[cell - 1] if cell else None
        high = edges[cell] if cell < len(edges) else None
        _spread(int(counts[cell]), (low, high), new, out)
    return out


def _spread(count: int, ends: tuple[float | None, float | None], new: NumericCells, out: Integers) -> None:
    low, high = ends
    if low is None or high is None:
        end = low if low is not None else np.nextafter(high, -np.inf) if high is not None else 0.0
        out[int(np.searchsorted(new.edges, end, side="right"))] += count
        return
    first = int(np.searchsorted(new.edges, low, side="right"))
    last = int(np.searchsorted(new.edges, np.nextafter(high, -np.inf), side="right"))
    if first == last:
        out[first] += count
        return
    borders = np.concatenate([[low], new.edges[first:last], [high]])
    shares = np.diff(borders) / (high - low) * count
    whole = np.floor(shares).astype(np.int64)
    rest = count - int(whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:rest]] += 1
    out[first : last + 1] += whole


def _category_cells(old: CategoryCells, new: CategoryCells) -> npt.NDArray[np.int64]:
    places = {name: place for place, name in enumerate(new.values)}
    unknown = new.other if new.overflow else new.unseen
    named = [places.get(name, new.other if name in new.rare else unknown) for name in old.values]
    return np.array([*named, new.other, unknown, new.missing[0]], dtype=np.int64)
