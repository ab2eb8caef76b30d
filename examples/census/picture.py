"""The drift of a replay as a small SVG: features down, months across, darker is further from the reference.

What this module must not do: compute a score. Colours have a second sign (a frame) for what is over the
threshold.
"""

from collections.abc import Mapping
from xml.sax.saxutils import escape

import pandas as pd

FONT = 'font-family="system-ui, sans-serif" font-size="12"'
CELL, GAP, LEFT, TOP, RIGHT = 14, 2, 250, 56, 64
SHADES = ("#eef2f6", "#cfe0ee", "#f6c96b", "#ef8a3c", "#c6352b", "#7d1128")
"""Up to a quarter, half, all of the threshold, twice, eight times, beyond: light to dark also without
colour.
"""
STEPS = (0.25, 0.5, 1.0, 2.0, 8.0)


def drift_svg(scores: pd.DataFrame, threshold: float, labels: Mapping[str, str]) -> str:
    """The picture as text; one square for each feature and month, the worst feature first."""
    names = [str(name) for name in scores.max().sort_values(ascending=False).index]
    pitch = CELL + GAP
    width, height = LEFT + pitch * len(scores) + RIGHT, TOP + pitch * len(names) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {FONT}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="16" y="22" font-size="15" font-weight="600">Drift from the reference, PSI by month</text>',
    ]
    parts += _years(scores.index, pitch)
    parts.append(f'<text x="{width - 12}" y="{TOP - 8}" fill="#556" text-anchor="end">worst</text>')
    parts += _rows(scores, names, labels, pitch)
    parts += _squares(scores, names, threshold, pitch)
    parts += _legend(threshold, TOP + pitch * len(names) + 12)
    return "\n".join([*parts, "</svg>", ""])


def _years(index: "pd.Index[pd.Timestamp]", pitch: int) -> list[str]:
    return [
        f'<text x="{LEFT + pitch * place}" y="{TOP - 8}" fill="#556">{start.year}</text>'
        for place, start in enumerate(index)
        if place == 0 or start.year != index[place - 1].year
    ]


def _rows(scores: pd.DataFrame, names: list[str], labels: Mapping[str, str], pitch: int) -> list[str]:
    shown = []
    for place, name in enumerate(names):
        y = TOP + pitch * place + CELL - 2
        label = f' <tspan fill="#889">{escape(labels[name])}</tspan>' if name in labels else ""
        shown.append(f'<text x="16" y="{y}">{escape(name)}{label}</text>')
        worst = scores[name].max()
        end = LEFT + pitch * len(scores) + RIGHT - 12
        shown.append(f'<text x="{end}" y="{y}" text-anchor="end">{worst:.2f}</text>')
    return shown


def _squares(scores: pd.DataFrame, names: list[str], threshold: float, pitch: int) -> list[str]:
    # One path a shade: 36 months of 17 features stay under ten kilobytes.
    squares: dict[str, list[str]] = {}
    for across, (_, row) in enumerate(scores.iterrows()):
        for down, name in enumerate(names):
            if pd.notna(row[name]):
                at = f"M{LEFT + pitch * across} {TOP + pitch * down}h{CELL}v{CELL}h-{CELL}z"
                squares.setdefault(_shade(row[name], threshold), []).append(at)
    drawn = []
    for shade in SHADES:
        frame = ' stroke="#222"' if SHADES.index(shade) > STEPS.index(1.0) else ""
        if shade in squares:
            drawn.append(f'<path fill="{shade}"{frame} d="{"".join(squares[shade])}"/>')
    return drawn


def _shade(score: float, threshold: float) -> str:
    share = score / threshold
    return SHADES[sum(share > step for step in STEPS)]


def _legend(threshold: float, y: int) -> list[str]:
    words = [f"to {threshold * step:g}" for step in STEPS] + ["more"]
    drawn = []
    for place, (shade, word) in enumerate(zip(SHADES, words, strict=True)):
        x = LEFT + 90 * place
        frame = ' stroke="#222"' if place > STEPS.index(1.0) else ""
        drawn.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{shade}"{frame}/>')
        drawn.append(f'<text x="{x + CELL + 6}" y="{y + CELL - 2}" fill="#556">{word}</text>')
    return [
        f'<text x="16" y="{y + CELL - 2}" fill="#556">framed: over the threshold of {threshold:g}</text>',
        *drawn,
    ]
