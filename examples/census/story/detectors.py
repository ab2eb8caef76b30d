"""The detectors of the story: what each says of a chunk in a few words, and whether that is an alarm. Pure.

What this module must not do: know what is true.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from examples.census.findings import Names
from examples.census.story.reading import Performance, Said


@dataclass(frozen=True)
class Detector:
    """`alarm` is None where it gives no verdict. `calls`: whether an alarm is meant to call a person; what
    does not is there to explain.
    """

    name: str
    told: Callable[[Said], str]
    alarm: Callable[[Said], bool | None]
    calls: bool = True

    def alarms(self, said: Sequence[Said]) -> list[int]:
        """The chunks that raise its alarm."""
        return [k for k, one in enumerate(said) if self.alarm(one)]

    def silent(self, said: Sequence[Said]) -> list[int]:
        """The chunks of which it gives no verdict."""
        return [k for k, one in enumerate(said) if self.alarm(one) is None]


def detectors(names: Names, attributes: Sequence[str]) -> list[Detector]:
    """All of them. `attributes` are those whose groups are compared, in the order of `Said.groups`."""
    return [
        Detector(
            "estimate without labels: this chunk is worse",
            lambda said: performance(said.estimate),
            lambda said: None if said.estimate.withheld else said.estimate.worse,
        ),
        Detector(
            "estimate without labels: the model got worse (two of three chunks)",
            lambda said: performance(said.estimate),
            lambda said: None if said.estimate.withheld else said.estimate.verdict,
        ),
        Detector(
            "labels, five weeks later: this chunk is worse",
            lambda said: performance(said.labels),
            lambda said: None if said.labels.withheld else said.labels.worse,
        ),
        Detector(
            "labels, five weeks later: the model got worse (two of three chunks)",
            lambda said: performance(said.labels),
            lambda said: None if said.labels.withheld else said.labels.verdict,
        ),
        Detector(
            "data quality", lambda said: ", ".join(said.quality) or "nothing", lambda said: bool(said.quality)
        ),
        Detector("anomaly rate", anomalies, lambda said: said.anomalies.raised),
        Detector(
            "`ModelHealthy` of `kubectl get mmodel`, while the chunk is the newest",
            lambda said: f"{said.health} ({said.because})",
            lambda said: None if said.health == "Unknown" else said.health == "False",
        ),
        Detector("drift of single features", features, lambda said: bool(said.drift.drifted), calls=False),
        *(_groups(place, names.attributes.get(name, name), names) for place, name in enumerate(attributes)),
        Detector("worst slice", hotspots, _has_slices, calls=False),
    ]


def performance(of: Performance) -> str:
    """The AUC with its bounds."""
    bounds = "" if of.lower is None or of.upper is None else f" ({of.lower:.3f} to {of.upper:.3f})"
    value = "–" if of.auc is None else f"{of.auc:.3f}{bounds}"
    return f"{value}, withheld: {of.withheld}" if of.withheld else value


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
    return f"{worst.rule}: {worst.value:.0%} right of {worst.rows}, {worst.rest:.0%} of all others"


def _has_slices(said: Said) -> bool | None:
    return None if said.hotspots is None else bool(said.hotspots.slices)


def _groups(place: int, label: str, names: Names) -> Detector:
    def told(said: Said) -> str:
        of = said.groups[place]
        if of.lowest is None or of.highest is None:
            return "too few labels"
        low, high = of.found[of.lowest] or 0.0, of.found[of.highest] or 0.0
        between = f"{low:.0%} {names.group(of.attribute, of.lowest)}, {high:.0%} "
        return between + f"{names.group(of.attribute, of.highest)}; four fifths: {of.four_fifths}"

    return Detector(
        f"groups by {label}: share found of those with a job",
        told,
        lambda said: said.groups[place].significant,
        calls=False,
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
