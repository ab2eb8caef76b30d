"""The facts that decide what is trained, gathered from the rooms that know them: at each `/status`.

Must not decide anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments.kind import Facts
from modelwarden_server.query.room import ChosenProfile
from modelwarden_server.store.datasets import Dataset
from modelwarden_server.store.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LoadedProfile = Callable[[str], ReferenceProfile | None]
"""The profile of that hash, if somebody has it in memory anyway."""


@dataclass
class FactSource:
    """`loaded` saves a second copy of a profile, which may take many megabytes."""

    cell: Cell
    chosen: ChosenProfile
    loaded: LoadedProfile
    _own: tuple[str, ReferenceProfile] | None = field(default=None, init=False)

    def facts(self, store: Store) -> Facts:
        """The facts as they are now. Raises ValueError or OSError if the profile cannot be read."""
        dataset = self.chosen.dataset() or self.chosen.closed_dataset()
        newest = store.ledger.totals.newest_event
        return Facts(
            identity=self.cell.identity,
            settings=self.cell.settings.current,
            dataset=dataset,
            profile=self._profile(dataset),
            now=datetime.fromtimestamp(self.cell.clock(), UTC),
            newest_inference=None if newest is None else _EPOCH + timedelta(microseconds=newest),
        )

    def _profile(self, dataset: Dataset | None) -> ReferenceProfile | None:
        name = None if dataset is None else dataset.profile_hash
        if name is None:
            self._own = None
            return None
        found = self.loaded(name)
        if found is not None:
            self._own = None
            return found
        if self._own is None or self._own[0] != name:
            self._own = name, self.chosen.load(name)
        return self._own[1]
