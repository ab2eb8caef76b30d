"""The room of performance in a cell's process: sums of outcomes that follow the commits, the verdict of the
status, the series and the door.

What it is compared with is the dataset that drift is compared with. Its sums are asked by others too (see
`populations`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute

from modelwarden.resources.report import PerformanceReport
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.cell import Cell
from modelwarden_server.query.performance.baseline import ReferenceRows
from modelwarden_server.query.performance.cube import CubeSources
from modelwarden_server.query.performance.expected_loss import ExpectedLosses
from modelwarden_server.query.performance.following import OutcomeFollower, numbers_of_batches
from modelwarden_server.query.performance.http import PerformanceDoor
from modelwarden_server.query.performance.naming import nameable
from modelwarden_server.query.performance.series import PerformanceCollector
from modelwarden_server.query.performance.sums import Sums
from modelwarden_server.query.performance.wanted import WantedOutcomes
from modelwarden_server.query.performance.watch import PerformanceWatch, Watched
from modelwarden_server.query.room import AnswerRoom, ChosenProfile, ReferenceKeeper
from modelwarden_server.query.windows import HISTORY
from modelwarden_server.store.batches import Batch
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

_MOST_DOUBTFUL = 0.05
"""Share of rows with values that the reference never had, in one attribute, above which an estimate is not
believed."""


@dataclass(frozen=True)
class Neighbours:
    """What this room needs of others: the references, the room of answers, a batch model's closed batches,
    and what is expected of a regression's errors.
    """

    references: ReferenceKeeper
    answers: AnswerRoom
    closed: Callable[[int], Sequence[Batch]]
    expected: ExpectedLosses | None = None


class PerformanceRoom:
    """Sums, verdict and answers of one cell."""

    def __init__(self, cell: Cell, neighbours: Neighbours) -> None:
        self._cell, self._near = cell, neighbours
        self._chosen = ChosenProfile(neighbours.references, lambda: cell.settings.current)
        stored = frozenset(column.name for column in cell.schema.data)
        self.wanted = WantedOutcomes(
            cell.identity, stored, lambda: cell.settings.current, self._chosen.wanted, self._profile
        )
        self._follower: OutcomeFollower | None = None
        self._watch = PerformanceWatch()
        self._door = PerformanceDoor(
            cell.identity,
            neighbours.answers.door,
            lambda: cell.settings.current,
            neighbours.answers.sources,
            self.sums,
            lambda: self.wanted.definition() is not None,
            neighbours.answers.questions.sources,
        )
        cell.metrics.registry.register(PerformanceCollector(self.report))

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return self._door.routes()

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        root = store.folders.root / "outcomes"
        names = numbers_of_batches(root) if self._cell.identity.is_batch else None
        sources = CubeSources(store.tables.inferences, store.tables.truth, root, names)
        self._follower = OutcomeFollower(sources, self.wanted.definition, reference=self._reference)
        self._follower.start()
        store.on_forget.append(self._follower.forget)
        return self._follower

    def status(self) -> dict[str, Any]:
        """See Room."""
        follower = self._follower
        if follower is None:
            return {}
        follower.wake()  # the settings, or the reference, may be others since
        known: dict[str, Any] = {"performance": self.report()}
        if follower.problem is not None:
            known["reason"] = f"sums of outcomes are behind the tables: {follower.problem}"
        return known

    def close(self) -> None:
        """See Room."""
        if self._follower is not None:
            self._follower.stop()

    def sums(self, seconds: float = 0.0) -> Sums | None:
        """The sums as far as they go; with `seconds`, those that hold all that is in the tables, waited for
        so long: None if it takes longer, or nothing is counted.
        """
        follower = self._follower
        if follower is None or (seconds and not follower.reach(seconds)):
            return None
        live = follower.live
        if live is None:
            return None
        return Sums(live, live.definition, None if live.baseline is None else live.baseline[1])

    def report(self) -> PerformanceReport | None:
        """The part of the status."""
        sums = self.sums()
        if sums is None:
            return None
        return self._watch.report(self._watched(sums))

    def _watched(self, sums: Sums) -> Watched:
        identity = self._cell.identity
        return Watched(
            sums,
            self._cell.settings.current.monitoring,
            closed=self._near.closed(HISTORY + 1) if identity.is_batch else None,
            expected=self._near.expected,
            doubt=self._doubt(),
            nameable=frozenset(a.name for a in identity.attributes if nameable(a)),
        )

    def _doubt(self) -> str | None:
        """Why estimates of the newest window are not to be believed, by what its rows are like."""
        quality = self._near.answers.quality()
        for value in () if quality is None else quality.values:
            if value.question in ("outOfRange", "unseenCategory") and value.raised:
                excess = value.share - value.reference_share
                if excess > _MOST_DOUBTFUL:
                    share = f"{100 * excess:.0f} % of the rows have"
                    return f"{share} a value of {value.attribute} that the reference does not have"
        return None

    def _profile(self, profile_hash: str) -> ReferenceProfile:
        return self._near.answers.loaded_profile(profile_hash) or self._chosen.load(profile_hash)

    def _reference(self) -> ReferenceRows | None:
        dataset = self._chosen.dataset()
        if dataset is None or dataset.content_hash is None:
            return None
        datasets = self._near.references.datasets()
        paths = tuple(datasets.path(dataset.name, file.name) for file in dataset.files)
        return ReferenceRows(dataset.content_hash, paths)
