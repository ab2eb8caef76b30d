"""The pictures of the story, by file name. Pure.

What this module must not do: decide what is an alarm.
"""

from examples.census.story.plot import BLUE, SKY, Bars, Panel, Picture, Scale
from examples.census.story.reading import Told


def all_of(told: Told) -> dict[str, str]:
    """Every picture as SVG, by file name."""
    made = {"drift": drift(told)}
    return {f"census-story-{name}.svg": picture.svg() for name, picture in made.items()}


def drift(told: Told) -> Picture:
    """How many features drifted."""
    most = max(one.drift.checked for one in told.said)
    panel = Panel(
        "features",
        Scale(0, max(most, 1), (0, 5, 10, 15)),
        [
            Bars("drifted", [len(one.drift.drifted) for one in told.said], SKY),
            Bars("of these, persistent", [len(one.drift.persistent) for one in told.said], BLUE),
        ],
    )
    title = f"Features that drifted, of {most}"
    return Picture(title, len(told.said), [panel], shaded=told.collapsed)
