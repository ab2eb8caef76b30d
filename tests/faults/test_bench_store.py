"""The benchmarks that load a real store process run, with few rows, and count what they were promised."""

import pytest

from benchmarks import door, memory, visible
from benchmarks.harness import Item, Setting

pytestmark = pytest.mark.faults
SMALL = Setting(tell=lambda _: None, scale=0.03, rounds=1, seconds=2.0)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("item", [door.ITEM, visible.ITEM, memory.ITEMS[0]], ids=lambda item: item.name)
def test_a_benchmark_of_a_real_store_gives_its_figures(item: Item) -> None:
    found = item.measure(SMALL)
    assert found[0].name == item.name
    assert all(result.ours > 0 for result in found)
