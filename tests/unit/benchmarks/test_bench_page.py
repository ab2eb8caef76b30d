"""The page of benchmarks says what the results say, and nobody edits it by hand."""

from dataclasses import replace

import pytest

from benchmarks import report, results
from benchmarks.harness import Item
from benchmarks.items import ITEMS
from benchmarks.report import number, page
from benchmarks.results import Bound, Circumstances, Kept, Result

THEN = Circumstances("2026-01-01", "2 cores of a processor, 8 GiB, Linux x86_64", "3.11.7", 0.2)
FAST = Result(
    "fast", "quick work", "rows/CPU s", 1234567.0, 1000.0, "peer 1.0", 1234.6, 500, Bound.RATIO_AT_LEAST, 5
)
SLOW = Result("slow", "slow work", "MiB", 900, target=768, bound=Bound.OURS_AT_MOST)


def item(name: str, limits: str = "") -> Item:
    return Item(name, f"how {name} is done.", lambda _: [], limits)


def test_the_committed_page_is_written_from_the_committed_results() -> None:
    kept = results.read()
    if not kept:
        assert not report.PAGE.exists()
    else:
        assert report.PAGE.read_text() == page(kept, ITEMS)


def test_a_row_holds_both_figures_the_ratio_and_whether_the_target_is_met() -> None:
    (row,) = [
        line for line in page([Kept(FAST, THEN)], [item("fast")]).splitlines() if line.startswith("| `")
    ]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "`fast`", "quick work", "1,230,000 rows/CPU s", "1,000 (peer 1.0)", "1,230x", "≥ 500x", "met",
    ]  # fmt: skip


def test_a_missed_target_says_by_how_much_and_why() -> None:
    text = page([Kept(SLOW, THEN)], [item("slow", "it is too large.")])
    assert "* `slow` misses its target by 17 %: it is too large." in text
    assert "All targets are met" not in text


def test_without_a_missed_target_the_page_says_so() -> None:
    assert "All targets are met." in page([Kept(FAST, THEN)], [item("fast")])


def test_figures_of_another_machine_stand_in_a_table_of_their_own() -> None:
    there = replace(THEN, machine="64 cores of another")
    text = page([Kept(FAST, THEN), Kept(SLOW, there)], [item("fast"), item("slow")])
    assert text.index("## On 2 cores") < text.index("`fast`") < text.index("## On 64 cores")
    assert text.count("| name |") == 2


def test_rows_stand_in_the_order_of_the_items_and_each_is_explained() -> None:
    text = page([Kept(SLOW, THEN), Kept(FAST, THEN)], [item("fast"), item("slow")])
    assert text.index("| `fast`") < text.index("| `slow`")
    assert "* `fast`: how fast is done." in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (3.14159, "3.14"), (999.4, "999"), (1000, "1,000"), (123456, "123,000")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
