"""A small table of planted faults; larger ones are in tests/faults and `python -m benchmarks.truth_table`."""

import numpy as np
import pytest

from benchmarks.truth_table import FAULTS, FLOWS, World, flow_alarm, told


@pytest.fixture(scope="module")
def world():
    return World.of(np.random.default_rng(5), "with times")


@pytest.mark.parametrize(("n", "many"), [(100, 6), (1000, 6), (5000, 2)])
def test_clean_windows_raise_no_alarm_at_any_number_of_rows_nor_on_weekends(world, n, many):
    rng = np.random.default_rng(n)
    alarms = [told(world.verdict(world.window(rng, n, number))) for number in range(many)]
    assert [alarm for alarm in alarms if alarm] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(world, fault):
    rng = np.random.default_rng(7)
    data = world.window(rng, 5000 if "5 %" in fault or "0.3" in fault else 1000, 1)
    FAULTS[fault](rng, data)
    assert told(world.verdict(data)) != []


@pytest.mark.parametrize("fault", FLOWS)
def test_too_few_too_many_and_late_rows_are_found(fault):
    assert flow_alarm(np.random.default_rng(8), 1000, fault)
