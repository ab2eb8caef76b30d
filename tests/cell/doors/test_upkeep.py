"""Which files are merged and which go for their age: rules on lists of files, without a disk."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.steady import SteadyClock
from modelwarden_server.store.upkeep import FEWEST, TARGET_BYTES, KeepRules, to_merge, to_retire

DAY = 86_400
NOW = 1000.0 * 30 * DAY + 3600
KIB, MIB = 1 << 10, 1 << 20
ALL = 1 << 62


def file(version: int, size: int = 10 * KIB, *, age: float = 0, rows: int = 100) -> TableFile:
    return TableFile(
        version, f"part-{version}", rows, size, {"received_timestamp": int((NOW - age) * 1_000_000)}
    )


def versions(files: Sequence[TableFile]) -> list[int]:
    return [file.version for file in files]


def test_few_small_files_are_left_alone_and_enough_of_them_are_merged() -> None:
    files = [file(v) for v in range(1, FEWEST)]
    assert to_merge(files, ALL, KeepRules(), NOW) == ()
    files.append(file(FEWEST))
    assert versions(to_merge(files, ALL, KeepRules(), NOW)) == list(range(1, FEWEST + 1))


def test_files_that_somebody_still_asks_for_by_version_are_left_apart() -> None:
    files = [file(v) for v in range(1, 2 * FEWEST)]
    assert to_merge(files, FEWEST - 1, KeepRules(), NOW) == ()
    assert versions(to_merge(files, FEWEST, KeepRules(), NOW)) == list(range(1, FEWEST + 1))


def test_a_large_file_is_not_written_again_for_a_few_small_ones() -> None:
    files = [file(1, 100 * MIB), *(file(v) for v in range(2, FEWEST + 1))]
    assert to_merge(files, ALL, KeepRules(), NOW) == ()
    files.append(file(FEWEST + 1))
    assert versions(to_merge(files, ALL, KeepRules(), NOW)) == list(range(2, FEWEST + 2))


def test_a_span_of_time_that_is_over_is_merged_down_to_one_file() -> None:
    rules = KeepRules(seconds=30 * DAY)
    files = [file(1, age=3 * DAY), file(2, age=3 * DAY), file(3), file(4)]
    assert versions(to_merge(files, ALL, rules, NOW)) == [1, 2]
    assert to_merge([file(1, age=3 * DAY), file(2, age=2 * DAY)], ALL, rules, NOW) == ()


def test_no_more_is_merged_than_a_file_may_hold() -> None:
    size = TARGET_BYTES // 10
    merged = to_merge([file(v, size) for v in range(1, 40)], ALL, KeepRules(), NOW + 90 * DAY)
    assert len(merged) == 10
    assert to_merge([file(v, TARGET_BYTES) for v in range(1, 40)], ALL, KeepRules(), NOW) == ()


def test_each_row_is_written_a_few_times_however_many_small_files_come() -> None:
    files: list[TableFile] = []
    written = total = 0
    for version in range(1, 4001):
        files.append(file(version, 40 * KIB))
        total += 40 * KIB
        while merged := to_merge(files, ALL, KeepRules(), NOW):
            size = sum(f.size for f in merged)
            written += size
            place = files.index(merged[0])
            files[place : place + len(merged)] = [replace(file(merged[-1].version), size=size)]
    assert len(files) < 4 * FEWEST
    assert written < 6 * total


def test_only_files_all_of_whose_rows_are_old_enough_go() -> None:
    files = [file(1, age=12 * DAY), file(2, age=11 * DAY), file(3, age=9 * DAY), file(4, age=20 * DAY)]
    assert versions(to_retire(files, ALL, KeepRules(seconds=10 * DAY), NOW)) == [1, 2]
    assert versions(to_retire(files, 1, KeepRules(seconds=10 * DAY), NOW)) == [1]
    assert to_retire(files, ALL, KeepRules(), NOW) == []


def test_the_oldest_files_go_until_the_rest_fits() -> None:
    files = [file(v, 10 * MIB) for v in range(1, 6)]
    assert versions(to_retire(files, ALL, KeepRules(table_bytes=25 * MIB), NOW)) == [1, 2, 3]


def test_labels_stay_longer_than_the_inferences_they_belong_to() -> None:
    assert KeepRules(10 * DAY).label_rules.seconds == 20 * DAY
    assert KeepRules(10 * DAY, 5 * DAY).label_rules.seconds == 15 * DAY
    assert KeepRules().label_rules.seconds is None


@pytest.mark.parametrize("jump", [-7200.0, 7200.0, 10 * 365 * DAY])
def test_a_clock_that_has_jumped_is_not_trusted_for_an_hour(jump: float) -> None:
    wall, monotonic = [NOW], [0.0]
    clock = SteadyClock(lambda: wall[0], lambda: monotonic[0])
    assert not clock.steady()
    for step in (wall, monotonic):
        step[0] += 3600
    assert clock.steady()
    wall[0] += jump
    assert not clock.steady()
    for step in (wall, monotonic):
        step[0] += 3599
    assert not clock.steady()
    for step in (wall, monotonic):
        step[0] += 1
    assert clock.steady()
