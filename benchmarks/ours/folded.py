"""The partials of the drift benchmark's rows: folded as the store folds them, kept as it keeps them."""

from collections.abc import Sequence

import pyarrow as pa

from modelwarden_server.analysis.code_space import CodeSpace, Times
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile
from modelwarden_server.analysis.timeline import Timeline

EVENT = "inference_timestamp"
ARRIVAL = "received_timestamp"


class Folded:
    """A timeline that rows are added to."""

    def __init__(self, profiles: Sequence[ColumnProfile]) -> None:
        self.space = CodeSpace(tuple(profiles))
        self.timeline = Timeline(self.space.size)

    def add(self, rows: pa.Table) -> None:
        """Fold rows that arrived when they happened."""
        for part in self.space.fold(rows.append_column(ARRIVAL, rows.column(EVENT)), Times(EVENT, ARRIVAL)):
            self.timeline.add(part)

    def by_column(self, totals: Integers) -> dict[str, Integers]:
        """Counts by cell of each column."""
        return {name: self.space.cells_of(name, totals) for name in self.space.names}
