"""Whether the clock can be trusted to remove rows for their age: it has neither just begun nor jumped."""

from collections.abc import Callable
from dataclasses import dataclass, field

JUMP_SECONDS = 60.0
TRUST_SECONDS = 3600.0


@dataclass
class SteadyClock:
    """Compares the wall clock with one that cannot jump. Ask `steady` at least every few minutes."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    trust_seconds: float = TRUST_SECONDS
    _offset: float = field(init=False)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.monotonic()
        self._offset = self.wall() - self._since

    def steady(self) -> bool:
        """Whether for `trust_seconds` both clocks have gone alike, within a minute."""
        now = self.monotonic()
        offset = self.wall() - now
        if abs(offset - self._offset) > JUMP_SECONDS:
            self._since, self._offset = now, offset
        return now - self._since >= self.trust_seconds
