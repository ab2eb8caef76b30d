"""What a reference does by itself over time is no drift; anything else still is."""

import numpy as np
import pytest

from modelwarden_server.analysis.season import Part, season_of

BUCKETS = 8
FLAT = np.full(BUCKETS, 1 / BUCKETS)
TILT = np.linspace(0.6, 1.4, BUCKETS) / BUCKETS


def blocks_of(rng, shares_of_block, rows=80):
    """Halves of blocks, one draw each, for one part."""
    halves = [rng.multinomial(rows // 2, shares, 2) for shares in shares_of_block]
    return np.concatenate(halves)


def weekly(blocks: int) -> np.ndarray:
    """1 at weekends, four blocks a day."""
    return ((np.arange(blocks) // 4) % 7 >= 5).astype(float)


def mixed(weekend: float) -> np.ndarray:
    return (1 - weekend) * FLAT + weekend * TILT


def parts_of(rng, places, seasonal=6, still=6, rows=80):
    found = []
    for n in range(seasonal + still):
        shares = [mixed(p) if n < seasonal else FLAT for p in places]
        halves = blocks_of(rng, shares, rows)
        found.append(Part(halves.sum(axis=0), halves))
    return found


def window(rng, weekend, n=3000, seasonal=6, still=6):
    return [rng.multinomial(n, mixed(weekend) if i < seasonal else FLAT).astype(float)
            for i in range(seasonal + still)]  # fmt: skip


def psi(p, q) -> float:
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def test_blocks_of_one_distribution_have_no_season_and_change_nothing():
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        season = season_of(parts_of(rng, np.zeros(140)), timed=True)
        found += len(season.low)
        target = window(rng, 1.0)
        if not len(season.low):
            for part, matched in zip(season.responses, season.matched(target), strict=True):
                assert np.array_equal(matched.base, part.counts)
                assert matched.counted == 1.0
    assert found == 0


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("weekend", [0.0, 1.0, 0.4])
def test_a_weekday_a_weekend_and_half_of_one_are_matched(timed, weekend):
    rng = np.random.default_rng(3)
    season = season_of(parts_of(rng, weekly(168)), timed)
    assert len(season.low) == 1
    target = window(rng, weekend, n=20_000)
    plain = [psi(r.counts, t) for r, t in zip(season.responses, target, strict=True)][:6]
    matched = [psi(m.base, t) for m, t in zip(season.matched(target), target, strict=True)][:6]
    assert max(matched) < 0.006
    if weekend != 0.4:
        assert min(plain) > max(matched)


def test_a_reference_at_a_weekend_counts_as_the_weekends_rows_only():
    rng = np.random.default_rng(4)
    parts = parts_of(rng, weekly(168))
    matched = season_of(parts, timed=True).matched(window(rng, 1.0))
    rows = float(parts[0].counts.sum())
    assert matched[0].base.sum() == pytest.approx(rows * 2 / 7, rel=0.25)
    assert np.median([m.base.sum() for m in matched[6:]]) == pytest.approx(rows)


def test_one_attribute_that_moves_as_at_a_weekend_while_the_others_do_not_has_moved():
    rng = np.random.default_rng(5)
    season = season_of(parts_of(rng, weekly(168)), timed=True)
    target = window(rng, 0.0, n=20_000)
    target[2] = rng.multinomial(20_000, mixed(1.0)).astype(float)
    matched = season.matched(target)
    assert psi(matched[2].base, target[2]) > 0.05
    assert psi(matched[0].base, target[0]) < 0.01


def test_further_than_the_reference_ever_was_is_not_the_season():
    rng = np.random.default_rng(6)
    season = season_of(parts_of(rng, weekly(168)), timed=True)
    matched, target = [], window(rng, 2.2, n=20_000)
    matched = season.matched(target)
    assert psi(matched[0].base, target[0]) > 0.05


def test_a_file_that_is_sorted_is_no_season_unless_times_say_so():
    rng = np.random.default_rng(7)
    sorted_rows = np.linspace(0, 1, 168)
    assert len(season_of(parts_of(rng, sorted_rows), timed=False).low) == 0
    assert len(season_of(parts_of(rng, sorted_rows), timed=True).low) >= 1


def test_wandering_that_no_course_explains_makes_windows_count_for_less():
    rng = np.random.default_rng(8)
    parts = []
    for _ in range(12):
        wandering = rng.dirichlet(np.full(BUCKETS, 60.0), 100)
        halves = np.concatenate([rng.multinomial(400, shares, 2) for shares in wandering])
        parts.append(Part(halves.sum(axis=0), halves))
    season = season_of(parts, timed=True)
    matched = season.matched([rng.multinomial(5000, FLAT).astype(float) for _ in parts])
    # Dirichlet(60 each): variance of a whitened share is about 1/(8·60), as 480 rows would have.
    assert np.mean([5000 * m.counted for m in matched]) < 1500


def test_few_blocks_and_empty_parts_have_no_season():
    rng = np.random.default_rng(9)
    assert len(season_of(parts_of(rng, np.array([0.0, 1.0] * 2)), timed=True).low) == 0
    empty = Part(np.zeros(BUCKETS, dtype=np.int64), np.zeros((40, BUCKETS), dtype=np.int64))
    season = season_of([empty], timed=True)
    assert season.matched([np.zeros(BUCKETS)])[0].base.sum() == 0
