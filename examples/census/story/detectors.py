"""The detectors of the story: what each says of a chunk in a few words, and whether that is an alarm. Pure.

What this module must not do: know what is true.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from examples.census.story.reading import Said


@dataclass(frozen=True)
class Detector:
    """`alarm` is None where it gives no verdict."""

    name: str
    told: Callable[[Said], str]
    alarm: Callable[[Said], bool | None]

    def alarms(self, said: Sequence[Said]) -> list[int]:
        """The chunks that raise its alarm."""
        return [k for k, one in enumerate(said) if self.alarm(one)]

    def silent(self, said: Sequence[Said]) -> list[int]:
        """The chunks of which it says nothing."""
        return [k for k, one in enumerate(said) if self.alarm(one) is None]


def features(said: Said) -> str:
    """How many features drifted, and how many of these persist."""
    drift = said.drift
    return f"{len(drift.drifted)} of {drift.checked}, {len(drift.persistent)} persistent"


def anomalies(said: Said) -> str:
    """The share of people like few in the reference."""
    return f"{said.anomalies.rate:.1%} of people, {said.anomalies.expected:.1%} expected"


def hotspots(said: Said) -> str:
    """The worst region, in words."""
    if said.hotspots is None:
        return "not searched"
    if not said.hotspots.slices:
        return "none under the threshold"
    worst = said.hotspots.slices[0]
    return f"{worst.rule}: {worst.value:.0%} right of {worst.rows}, {worst.rest:.0%} of the others"


DETECTORS = (
    Detector("features drifted", features, lambda said: bool(said.drift.drifted)),
    Detector(
        "data quality", lambda said: ", ".join(said.quality) or "nothing", lambda said: bool(said.quality)
    ),
    Detector("anomaly rate", anomalies, lambda said: said.anomalies.raised),
    Detector(
        "worst slice", hotspots, lambda said: None if said.hotspots is None else bool(said.hotspots.slices)
    ),
    Detector(
        "`ModelHealthy` of `kubectl get mmodel`",
        lambda said: f"{said.health}: {said.because}",
        lambda said: None if said.health == "Unknown" else said.health == "False",
    ),
)


def ranges(chunks: Iterable[int]) -> str:
    """1, 2, 3, 7 as "1–3, 7"; nothing as "none"."""
    runs: list[list[int]] = []
    for chunk in sorted(chunks):
        if runs and runs[-1][-1] == chunk - 1:
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs) or "none"
