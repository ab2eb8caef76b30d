"""The server's pods as the store knows them: what each told last, forgotten half a minute later.

Nothing of it is kept: pods tell again every few seconds. Must not decide anything.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

from modelwarden.resources.server import PodReport

HEARD_SECONDS = 30.0
MOST_PODS = 1000


class Pods:
    """`clock` gives seconds, of any beginning. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard: OrderedDict[str, tuple[float, PodReport]] = OrderedDict()
        self._lock = threading.Lock()

    def hear(self, report: PodReport) -> None:
        """Take note of what a pod says; of more than MOST_PODS the one heard longest ago is forgotten."""
        with self._lock:
            self._heard[report.pod] = self._clock(), report
            self._heard.move_to_end(report.pod)
            while len(self._heard) > MOST_PODS:
                self._heard.popitem(last=False)

    def all(self) -> tuple[PodReport, ...]:
        """Those heard of in the last half minute, by their names."""
        with self._lock:
            since = self._clock() - HEARD_SECONDS
            while self._heard and next(iter(self._heard.values()))[0] < since:
                self._heard.popitem(last=False)
            return tuple(report for _, (_, report) in sorted(self._heard.items()))
