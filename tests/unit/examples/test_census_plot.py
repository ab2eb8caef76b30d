"""The plots of the census story: valid SVG, small, gaps left open, nothing told by colour alone."""

import re
from xml.etree import ElementTree as ET

import pytest

from examples.census.story.plot import BLUE, ORANGE, Band, Bars, Level, Line, Marks, Panel, Picture, Scale

SVG = "{http://www.w3.org/2000/svg}"
SCALE = Scale(0.0, 1.0, (0.0, 0.5, 1.0))


def drawn(*parts: Line | Band | Bars | Level, marks: tuple[Marks, ...] = ()) -> ET.Element:
    picture = Picture("A <title>", 4, [Panel("share", SCALE, parts, 100)], marks, frozenset({2}))
    return ET.fromstring(picture.svg())


def paths(svg: ET.Element, colour: str, paint: str) -> list[str]:
    found = [path for path in svg.iter(f"{SVG}path") if path.get(paint) == colour]
    return [path.get("d", "") for path in found]


def heights(path: str) -> list[float]:
    return [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]


def test_a_line_is_broken_where_there_is_no_value() -> None:
    line, _legend = paths(drawn(Line("a", [0.5, None, 0.5, 0.7], BLUE)), BLUE, "stroke"), None
    assert [path.count("L") for path in line if "h16" not in path] == [0, 1]


def test_what_is_greater_lies_higher_and_what_is_off_the_scale_lies_on_its_edge() -> None:
    (path,) = (p for p in paths(drawn(Line("a", [0.2, 0.4, 7.0, -7.0], BLUE)), BLUE, "stroke") if "L" in p)
    low, high, ceiling, floor = heights(path)
    assert low - high == pytest.approx(20, abs=0.2)
    assert floor - ceiling == pytest.approx(100, abs=0.2)


def test_a_band_is_closed_and_left_open_where_it_has_one_side_only() -> None:
    svg = drawn(Band("b", [0.1, 0.2, None, 0.2], [0.3, 0.4, 0.5, None], BLUE))
    (area,) = paths(svg, BLUE, "fill")
    assert area.endswith("z")
    assert area.count("L") == 3


def test_bars_of_nothing_are_not_drawn() -> None:
    (bars,) = (p for p in paths(drawn(Bars("c", [0.0, 0.5, None, 1.0], BLUE)), BLUE, "fill") if "V" in p)
    assert bars.count("z") == 2


def test_marks_stand_under_their_chunks_and_have_a_name() -> None:
    svg = drawn(marks=(Marks("worse by labels", frozenset({1, 2}), ORANGE, "diamond"),))
    (marks,) = paths(svg, ORANGE, "fill")
    assert marks.count("M") == 2
    assert "worse by labels" in [text.text for text in svg.iter(f"{SVG}text")]


def test_words_are_escaped_and_chunks_are_numbered() -> None:
    texts = [text.text for text in drawn().iter(f"{SVG}text")]
    assert texts[0] == "A <title>"
    assert texts[-2:] == ["0", "3"]
