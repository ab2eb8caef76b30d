"""Harm is found in nine of ten windows, and one in a hundred harmless ones raises an alarm at most."""

import os

import pytest

from benchmarks.performance_truth import lines

pytestmark = pytest.mark.faults

WINDOWS = 300 if os.environ.get("MODELWARDEN_LONG") == "1" else 10


def test_the_verdict_on_performance_finds_harm_and_does_not_cry_wolf():
    harm, fine = lines(seed=7, windows=WINDOWS, references=3)
    assert {line.what: line.shares for line in harm if min(line.shares) < 0.9} == {}
    # Of few windows one may be chance.
    most = max(0.01, 1 / (3 * WINDOWS))
    assert {line.what: line.shares for line in fine if max(line.shares) > most} == {}
