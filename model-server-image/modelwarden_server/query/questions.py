"""What there is to ask at the moment of a question: files that hold every row acknowledged before it came.

The barrier is bounded: when the writer does not get there in time the answer is a 503, never one that leaves
rows out in silence. Must not know how a question is put.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from modelwarden_server.analysis.cells import Cells
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.cell import Cell
from modelwarden_server.query.drift_answer import files_of
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.scan import Files
from modelwarden_server.query.sql.answer import QuerySources
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.partial_scores import Scored
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.web import Refusal

BARRIER_SECONDS = 10.0
_PARTIALS_SECONDS = 0.5


@dataclass(frozen=True)
class GenerationCounts:
    """The partials of one profile as `partial_counts` asks for them."""

    generation: Generation

    def days(self) -> list[int]:
        """See Counted."""
        return self.generation.days()

    def window(self, start: int, end: int) -> Integers:
        """See Counted."""
        return self.generation.window(start, end)

    def cells(self, name: str) -> Cells | None:
        """See Counted: labels are counted apart, for the rows that have one."""
        columns = self.generation.space.columns
        return next((profile.cells for profile in columns if profile.column.name == name), None)

    def counts(self, name: str, totals: Integers) -> Integers:
        """See Counted."""
        return self.generation.space.cells_of(name, totals)


@dataclass
class Questions:
    """Gives the sources of one cell. `reach` waits for partials and gives them if they are complete."""

    cell: Cell
    reach: Callable[[float], Generation | None]
    reference: Callable[[], Files | None]
    seconds: float = BARRIER_SECONDS
    scores: Callable[[], Files | None] = lambda: None
    """The anomaly scores there are, if rows are scored."""
    explanations: Callable[[], Files | None] = lambda: None
    """The explanations there are, if rows are explained."""
    outcomes: Callable[[float], Scored | None] = lambda _seconds: None
    """Sums of outcomes, complete, waited for so many seconds."""

    def settled(self) -> None:
        """Return when all that was acknowledged is in the tables. Raises Refusal (503)."""
        if not self.cell.store.writer.flush(self.seconds):
            why = self.cell.store.writer.problem or "rows acknowledged before are still on their way"
            raise Refusal(503, f"{why}: ask again in a few seconds", retry_after=3)

    def sources(self) -> QuerySources:
        """All there is, complete. Raises Refusal (503)."""
        self.settled()
        cell = self.cell
        tables = cell.store.tables
        # Inferences first: a label that comes between the two finds its inference, or waits for it.
        inferences, labels = _files(tables.inferences), _files(tables.truth)
        scores, explanations = self.scores(), self.explanations()
        model = QueriedModel.of(cell.identity, cell.settings.current.classifier_threshold)
        return QuerySources(
            model=replace(model, scored=scores is not None, explained=explanations is not None),
            inferences=inferences,
            labels=labels,
            reference=self.reference(),
            counted=self._counted,
            scores=scores,
            explanations=explanations,
            outcomes=lambda: self.outcomes(_PARTIALS_SECONDS),
        )

    def _counted(self) -> GenerationCounts | None:
        live = self.reach(_PARTIALS_SECONDS)
        return None if live is None else GenerationCounts(live)


def _files(table: AppendTable) -> Files:
    files = table.files
    return files_of(table.folder, [f.name for f in files], sum(f.rows for f in files), table.schema)
