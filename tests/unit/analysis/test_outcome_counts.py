"""What is counted of an outcome equals a direct count of the rows, however they are split and relabelled."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_kinds import BINARY, CLASSES, NUMBER, people, space

from modelwarden.resources.attributes import OutputType
from modelwarden.resources.monitoring import Segment
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.partials import PackedCounts, SparseCounts, merge, total
from modelwarden_server.analysis.performance.fixed_point import Scale, joined
from modelwarden_server.analysis.performance.groups import segment_rules
from modelwarden_server.analysis.performance.layout import OutcomeSpace
from modelwarden_server.analysis.performance.outcome import UNKNOWN, Task

EPSILON = (np.finfo(float).eps, 1 - np.finfo(float).eps)


def counted(space: OutcomeSpace, table: pa.Table, labelled: np.ndarray) -> np.ndarray:
    packed, labels = space.packed(table), space.labels(table)
    slices = np.zeros(table.num_rows, dtype=np.int64)
    parts = [space.fold_rows(slices, packed)]
    parts.append(space.fold_labels(slices[labelled], packed[labelled], labels[labelled]))
    return total([merge(parts)], space.size)


def population(space: OutcomeSpace, totals, **wanted) -> np.ndarray:
    group, attribute, segment = wanted.get("group"), wanted.get("attribute"), wanted.get("segment")
    for place, ((a, _, s), name) in enumerate(zip(space.populations, space.names(), strict=True)):
        if (a, s) == (attribute, segment) and (a is None or name == group):
            return space.block_of(place, totals)
    raise AssertionError(wanted)


@pytest.mark.parametrize("threshold", [0.5, 0.37, 0.12345])
def test_of_two_classes_every_population_counts_what_a_direct_count_does(threshold):
    rng = np.random.default_rng(3)
    n = 4000
    data = people(rng, n) | {"p": rng.beta(2, 3, n), "paid": rng.integers(0, 2, n)}
    data["p"][:3] = [threshold, np.nextafter(threshold, 0), 1.0]
    labelled = rng.random(n) < 0.6
    outcomes = space(BINARY, threshold=threshold)
    totals = counted(outcomes, pa.table(data), labelled)
    frame = pd.DataFrame(data)
    frame["labelled"] = labelled
    age = frame["age"]
    asked = [
        ({}, frame),
        ({"attribute": "sex", "group": "f"}, frame[frame.sex == "f"]),
        ({"attribute": "sex", "group": "(other)"}, frame[frame.sex == "x"]),
        ({"attribute": "sex", "group": "(missing)"}, frame[frame.sex.isna()]),
        ({"attribute": "age", "group": "(30, 60]"}, frame[(age > 30) & (age <= 60)]),
        ({"attribute": "age", "group": "(other)"}, frame[age > 60]),
        ({"segment": "old-men"}, frame[(age >= 50) & (frame.sex == "m")]),
    ]
    for wanted, rows in asked:
        block = population(outcomes, totals, **wanted)
        counts = outcomes.everybody.counts(block)
        known = rows[rows.labelled]
        assert block[0] == len(rows) == counts.rows.sum(), wanted
        assert counts.positives.sum() == (known.paid == 1).sum()
        above = outcomes.everybody.above(block, threshold)
        said = known[known.p >= threshold]
        assert above == ((rows.p >= threshold).sum(), (said.paid == 1).sum(), (said.paid == 0).sum())
        for grid in (0.1, 0.5, 0.9):
            assert (
                counts.positives[round(grid * 1000) :].sum() == ((known.p >= grid) & (known.paid == 1)).sum()
            )
        right = np.where(known.paid == 1, known.p, 1 - known.p)
        loss = -np.log(np.clip(right, *EPSILON)).sum()
        assert block[1] / 2**24 == pytest.approx(loss, abs=len(known) / 2**25)
        assert block[2] / 2**30 == pytest.approx(((1 - right) ** 2).sum(), abs=len(known) / 2**31)


def test_a_label_that_is_neither_class_is_no_label():
    table = pa.table({"paid": pa.array([1, 0, 7, -1, None])})
    known = space(BINARY).definition.outcome.labels(table)
    assert known.tolist() == [0, 1, UNKNOWN, UNKNOWN, UNKNOWN]
    texts = pa.table({"paid": pa.array(["1", "0", "7", "-1", None])})
    assert space(BINARY).definition.outcome.labels(texts).tolist() == known.tolist()


def test_of_several_classes_the_confusion_and_each_class_against_the_rest_are_counted():
    rng = np.random.default_rng(4)
    n = 3000
    scores = rng.dirichlet([1, 1, 1], n)
    data = people(rng, n) | {f"p{c}": scores[:, i] for i, c in enumerate("abc")}
    data["kind"] = rng.choice(np.array(["a", "b", "c", "new"], dtype=object), n)
    outcomes = space(CLASSES)
    assert outcomes.definition.outcome.task is Task.MULTICLASS
    totals = counted(outcomes, pa.table(data), np.ones(n, dtype=bool))
    frame = pd.DataFrame(data)
    frame["said"] = np.array(list("abc"))[scores.argmax(axis=1)]
    for wanted, rows in [({}, frame), ({"attribute": "sex", "group": "m"}, frame[frame.sex == "m"])]:
        block = population(outcomes, totals, **wanted)
        kind = outcomes.everybody if not wanted else outcomes.part
        direct = pd.crosstab(rows.said, rows.kind).reindex(
            index=list("abc"), columns=list("abc"), fill_value=0
        )
        assert kind.confusion(block).tolist() == direct.to_numpy().tolist()
        assert kind.predicted(block).tolist() == [(rows.said == c).sum() for c in "abc"]
    known = frame[frame.kind != "new"]
    block = population(outcomes, totals)
    counts = outcomes.everybody.counts(block, 1)
    assert counts.rows.sum() == n
    assert counts.positives[400:].sum() == ((known.pb >= 0.4) & (known.kind == "b")).sum()
    assert counts.negatives[400:].sum() == ((known.pb >= 0.4) & (known.kind != "b")).sum()
    right = np.choose([list("abc").index(k) for k in known.kind], known[["pa", "pb", "pc"]].to_numpy().T)
    assert block[1] / 2**24 / len(known) == pytest.approx(-np.log(right).mean(), abs=2e-3)


def test_of_numbers_the_sums_are_exact_in_fixed_point_and_what_is_too_far_is_counted():
    rng = np.random.default_rng(5)
    n = 2000
    y = rng.normal(1000, 50, n)
    data = people(rng, n) | {"guess": y + rng.normal(0, 5, n), "y": y}
    data["guess"][0] = 1e12
    scale = Scale.of(float(y.min()), float(y.max()), float(y.mean()))
    outcomes = space(NUMBER, OutputType.REGRESSION, scale=scale)
    totals = counted(outcomes, pa.table(data), np.ones(n, dtype=bool))
    block, kind = population(outcomes, totals), outcomes.everybody
    e = (data["guess"] - y)[1:]
    assert (block[kind.LABELLED], block[kind.SATURATED]) == (n, 1)
    far = 2**31 - 1
    assert scale.square(joined(block[kind.E2], block[kind.E2 + 1]) - far**2) == pytest.approx(
        (e**2).sum(), rel=1e-6
    )
    assert scale.value(int(block[kind.ABS]) - far) == pytest.approx(np.abs(e).sum(), rel=1e-6)
    centre = scale.value(scale.centre)
    assert centre + scale.value(int(block[kind.Y])) / n == pytest.approx(y.mean(), rel=1e-9)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    which=st.sampled_from(["binary", "classes", "number"]),
)
def test_any_split_and_any_history_of_labels_gives_the_same_integers(seed, cuts, which):
    rng = np.random.default_rng(seed)
    n = 300
    scores = rng.dirichlet([1, 1, 1], n)
    data = people(rng, n) | {f"p{c}": scores[:, i] for i, c in enumerate("abc")}
    data |= {"p": scores[:, 0], "guess": rng.normal(0, 1, n), "y": rng.normal(0, 1, n)}
    data |= {"paid": rng.integers(0, 2, n), "kind": rng.choice(list("abc"), n)}
    outcomes = {
        "binary": lambda: space(BINARY, threshold=0.3333),
        "classes": lambda: space(CLASSES),
        "number": lambda: space(NUMBER, OutputType.REGRESSION, scale=Scale.of(-1, 1, 0)),
    }[which]()
    table = pa.table(data)
    packed, labels = outcomes.packed(table), outcomes.labels(table)
    slices = rng.integers(5_000_000, 5_000_003, n)
    whole = merge([outcomes.fold_rows(slices, packed), outcomes.fold_labels(slices, packed, labels)])
    parts: list[SparseCounts] = []
    bounds = sorted({0, n, *cuts})
    for low, high in pairwise(bounds):
        piece = slice(low, high)
        again = outcomes.packed(table.slice(low, high - low))
        wrong = np.roll(labels, 7)[piece]
        parts += [
            outcomes.fold_labels(slices[piece], again, wrong),
            outcomes.fold_rows(slices[piece], again),
            outcomes.fold_labels(slices[piece], again, wrong, -1),
            outcomes.fold_labels(slices[piece], again, labels[piece]),
        ]
    order = rng.permutation(len(parts))
    assert merge(PackedCounts.of(parts[i]).unpacked() for i in order).same_as(whole)


def test_a_definition_that_counts_the_same_has_the_same_hash():
    known = space(BINARY, threshold=0.5).definition.hash
    assert space(BINARY, threshold=0.9).definition.hash == known
    assert space(BINARY, threshold=0.12345).definition.hash != known
    changed = [BINARY[0] | {"bins": [{"continuousEnd": 31}]}, *BINARY[1:]]
    assert space(changed).definition.hash != known


def test_sums_of_both_signs_beyond_what_a_double_holds_are_packed_exactly():
    part = SparseCounts(np.array([1, 2]), np.array([-5, 2**60 + 1]))
    assert PackedCounts.of(part).unpacked().counts.tolist() == [-5, 2**60 + 1]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ({"attribute": "nothing", "values": ["1"]}, "nothing is no attribute"),
        ({"attribute": "sex", "comparator": "gt", "values": ["1"]}, "gt cannot compare"),
        ({"attribute": "age", "comparator": "gt", "values": ["old"]}, "is no number"),
    ],
)
def test_a_segment_that_cannot_be_counted_says_why(condition, why):
    resolved = [ResolvedAttribute.model_validate(a) for a in BINARY]
    segment = Segment.model_validate({"name": "s", "where": [condition]})
    rules, refused = segment_rules([segment], resolved, frozenset(a.name for a in resolved))
    assert rules == ()
    assert why in refused["s"]
