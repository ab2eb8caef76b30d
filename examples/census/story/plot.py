"""A small plot as SVG: panels above each other over the same chunks, with lines, bands, bars, and rows of
marks underneath.

Colours are those of Okabe and Ito, which people with colour blindness tell apart; every line also has a sign
of its own, and what is found is a mark, never a colour alone. What this module must not do: compute anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal
from xml.sax.saxutils import escape

from examples.census.picture import FONT

Values = Sequence[float | None]
Sign = Literal["dot", "square", "triangle", "diamond", "none"]

BLACK, BLUE, ORANGE, GREEN, PURPLE = "#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SKY, YELLOW = "#56b4e9", "#e69f00"
GREY, LIGHT, SHADE = "#556", "#d8dde3", "#f3e7d3"
WIDTH, LEFT, RIGHT, TOP = 940, 150, 16, 34
LEGEND, GAP, ROW, FOOT = 20, 16, 18, 34


@dataclass(frozen=True)
class Line:
    """One value a chunk; None where there is none."""

    name: str
    values: Values
    colour: str
    sign: Sign = "none"
    dash: str = ""


@dataclass(frozen=True)
class Band:
    """An area between two values a chunk."""

    name: str
    low: Values
    high: Values
    colour: str


@dataclass(frozen=True)
class Bars:
    """One bar a chunk, from the panel's floor."""

    name: str
    values: Values
    colour: str


@dataclass(frozen=True)
class Level:
    """A horizontal line across all chunks."""

    name: str
    value: float
    colour: str = BLACK


@dataclass(frozen=True)
class Scale:
    """From `low` at the floor to `high`; a thin line and a number at each tick."""

    low: float
    high: float
    ticks: tuple[float, ...]
    format: str = "{:g}"


@dataclass(frozen=True)
class Panel:
    """One pair of axes. Drawn in the order bands, bars, levels, lines."""

    title: str
    scale: Scale
    parts: Sequence[Line | Band | Bars | Level]
    height: int = 150


@dataclass(frozen=True)
class Marks:
    """A row of signs under the panels: one for each chunk that is named."""

    name: str
    chunks: frozenset[int]
    colour: str
    sign: Sign = "triangle"


@dataclass(frozen=True)
class Picture:
    """The whole. `shaded` are the chunks that a reader should compare everything with."""

    title: str
    chunks: int
    panels: Sequence[Panel]
    marks: Sequence[Marks] = ()
    shaded: frozenset[int] = frozenset()

    def svg(self) -> str:
        """The picture as text."""
        height = TOP + sum(_height(panel) for panel in self.panels) + ROW * len(self.marks) + FOOT
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="16" y="22" font-size="15" font-weight="600">{escape(self.title)}</text>',
            *self._shades(height),
        ]
        top = TOP
        for panel in self.panels:
            parts += _panel(panel, _Place(top + LEGEND + 4, panel, self.chunks))
            top += _height(panel)
        for row in self.marks:
            parts += _marks(row, self.chunks, top + ROW // 2)
            top += ROW
        return "\n".join([*parts, *_numbers(self.chunks, top + 12), "</svg>", ""])

    def _shades(self, height: int) -> list[str]:
        step = _step(self.chunks)
        return [
            f'<rect x="{_x(chunk, self.chunks) - step / 2:.1f}" y="{TOP + LEGEND}" width="{step:.1f}" '
            f'height="{height - TOP - LEGEND - FOOT}" fill="{SHADE}"/>'
            for chunk in sorted(self.shaded)
        ]


@dataclass(frozen=True)
class _Place:
    """Where a panel lies: its ceiling in pixels."""

    top: int
    panel: Panel
    chunks: int

    def y(self, value: float) -> float:
        scale = self.panel.scale
        share = (min(max(value, scale.low), scale.high) - scale.low) / (scale.high - scale.low)
        return round(self.top + self.panel.height * (1 - share), 1)

    def point(self, chunk: int, value: float) -> str:
        return f"{_x(chunk, self.chunks)} {self.y(value)}"


def _height(panel: Panel) -> int:
    return LEGEND + panel.height + GAP


def _step(chunks: int) -> float:
    return (WIDTH - LEFT - RIGHT) / max(1, chunks)


def _x(chunk: int, chunks: int) -> float:
    return round(LEFT + _step(chunks) * (chunk + 0.5), 1)


def _panel(panel: Panel, place: _Place) -> list[str]:
    drawn = []
    for tick in panel.scale.ticks:
        y = place.y(tick)
        drawn.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="{LIGHT}"/>')
        shown = escape(panel.scale.format.format(tick))
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4}" fill="{GREY}" text-anchor="end">{shown}</text>')
    for kind in (Band, Bars, Level, Line):
        for part in panel.parts:
            if isinstance(part, kind):
                drawn += _part(part, place)
    return [*drawn, *_legend(panel, place.top - 10)]


def _part(part: Line | Band | Bars | Level, place: _Place) -> list[str]:
    match part:
        case Band():
            return _band(part, place)
        case Bars():
            return _bars(part, place)
        case Level():
            y = place.y(part.value)
            return [f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="{part.colour}" stroke-dasharray="2 3"/>']
        case Line():
            return _line(part, place)


def _line(line: Line, place: _Place) -> list[str]:
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    drawn = []
    for run in _runs(line.values):
        path = "L".join(place.point(chunk, value) for chunk, value in run)
        drawn.append(f'<path d="M{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"{dash}/>')
    signs = "".join(
        _sign(line.sign, _x(chunk, place.chunks), place.y(value), 3)
        for chunk, value in enumerate(line.values)
        if value is not None
    )
    return [*drawn, *([f'<path fill="{line.colour}" d="{signs}"/>'] if signs else [])]


def _band(band: Band, place: _Place) -> list[str]:
    both: Values = [
        None if low is None or high is None else low for low, high in zip(band.low, band.high, strict=True)
    ]
    drawn = []
    for run in _runs(both):
        above = "L".join(place.point(chunk, band.high[chunk] or 0.0) for chunk, _ in run)
        below = "L".join(place.point(chunk, value) for chunk, value in reversed(run))
        drawn.append(f'<path d="M{above}L{below}z" fill="{band.colour}" fill-opacity=".3"/>')
    return drawn


def _bars(bars: Bars, place: _Place) -> list[str]:
    width = round(_step(place.chunks) * 0.6, 1)
    floor = place.y(place.panel.scale.low)
    path = "".join(
        f"M{_x(chunk, place.chunks) - width / 2:.1f} {floor}V{place.y(value)}h{width}V{floor}z"
        for chunk, value in enumerate(bars.values)
        if value
    )
    return [f'<path fill="{bars.colour}" d="{path}"/>'] if path else []


def _runs(values: Values) -> Iterator[list[tuple[int, float]]]:
    """The values in pieces without a gap, each with its chunk."""
    for there, group in groupby(enumerate(values), key=lambda pair: pair[1] is not None):
        if there:
            yield [(chunk, value) for chunk, value in group if value is not None]


def _sign(sign: Sign, x: float, y: float, r: float) -> str:
    match sign:
        case "dot":
            return f"M{x - r:.1f} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
        case "square":
            return f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z"
        case "triangle":
            return f"M{x - r:.1f} {y - r:.1f}h{2 * r}l{-r} {2 * r}z"
        case "diamond":
            return f"M{x - r:.1f} {y}l{r} {-r}l{r} {r}l{-r} {r}z"
        case "none":
            return ""


def _legend(panel: Panel, y: int) -> list[str]:
    drawn = [f'<text x="{LEFT}" y="{y + 4}" font-weight="600">{escape(panel.title)}</text>']
    x = LEFT + 7.2 * len(panel.title) + 24
    for part in panel.parts:
        drawn.append(_key(part, x, y))
        drawn.append(f'<text x="{x + 22:.0f}" y="{y + 4}" fill="{GREY}">{escape(part.name)}</text>')
        x += 22 + 6.4 * len(part.name) + 18
    return drawn


def _key(part: Line | Band | Bars | Level, x: float, y: int) -> str:
    match part:
        case Band() | Bars():
            opacity = ' fill-opacity=".3"' if isinstance(part, Band) else ""
            return f'<rect x="{x:.0f}" y="{y - 5}" width="16" height="10" fill="{part.colour}"{opacity}/>'
        case Level():
            return f'<path d="M{x:.0f} {y}h16" stroke="{part.colour}" stroke-dasharray="2 3"/>'
        case Line():
            dash = f' stroke-dasharray="{part.dash}"' if part.dash else ""
            stroke = f'<path d="M{x:.0f} {y}h16" stroke="{part.colour}" stroke-width="1.5"{dash}/>'
            sign = _sign(part.sign, x + 8, float(y), 3)
            return stroke + (f'<path fill="{part.colour}" d="{sign}"/>' if sign else "")


def _marks(row: Marks, chunks: int, y: int) -> list[str]:
    signs = "".join(_sign(row.sign, _x(chunk, chunks), y, 4) for chunk in sorted(row.chunks))
    drawn = [f'<path fill="{row.colour}" d="{signs}"/>'] if signs else []
    name = f'<text x="{LEFT - 6}" y="{y + 4}" fill="{GREY}" text-anchor="end">{escape(row.name)}</text>'
    return [*drawn, name]


def _numbers(chunks: int, y: int) -> list[str]:
    shown = [chunk for chunk in range(chunks) if chunk % 3 == 0]
    return [
        f'<text x="{_x(chunk, chunks)}" y="{y}" fill="{GREY}" text-anchor="middle">{chunk}</text>'
        for chunk in shown
    ]
