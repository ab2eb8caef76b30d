"""What is counted of ranked lists, tokens and several labels is a direct count's, however it is split."""

import numpy as np
import pyarrow as pa
import pytest
from outcome_kinds import INPUTS
from sklearn import metrics as sk

from modelwarden.resources.attributes import OutputType
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.partials import merge, total
from modelwarden_server.analysis.performance.groups import group_rules
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.list_metrics import late_rank, ranked_metrics
from modelwarden_server.analysis.performance.metrics import labelled_of, metrics_of
from modelwarden_server.analysis.performance.outcome import outcome_of, outcome_of_lists
from modelwarden_server.analysis.performance.verdict import PerformanceJudge
from modelwarden_server.schema.compiled import ARROW_TYPES

OFFERS = [
    {"name": "offers", "valueType": "RANKED_LIST", "stage": "PREDICTED_VALUE", "position": 0,
     "attributeLink": "bought"},
    {"name": "bought", "valueType": "ARRAY(STRING)", "stage": "GROUND_TRUTH", "position": 0,
     "attributeLink": "offers"},
]  # fmt: skip
ODDS = [{"name": "odds", "valueType": "TOKEN_LIKELIHOODS", "stage": "PREDICTED_VALUE", "position": 0}]
WORDS = [{"name": "words", "valueType": "TOKENS", "stage": "PREDICTED_VALUE", "position": 0}]
TOPICS = [
    *(
        {"name": f"p{n}", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": n,
         "attributeLink": f"y{n}"}
        for n in range(3)
    ),
    *(
        {"name": f"y{n}", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "position": n,
         "attributeLink": f"p{n}"}
        for n in range(3)
    ),
]  # fmt: skip


def space(attributes, kind: OutputType) -> OutcomeSpace:
    resolved = [ResolvedAttribute.model_validate(a) for a in attributes]
    outcome = outcome_of_lists(resolved, kind)
    assert outcome is not None
    assert outcome_of(resolved, kind) is None, "others ask that one for what they know"
    return OutcomeSpace(Definition(outcome, groups=group_rules(resolved, {})))


def counted(outcomes: OutcomeSpace, table: pa.Table) -> np.ndarray:
    """Rows and labels in pieces, each label first another one that is then replaced, remembered as words."""
    parts = []
    for low in range(0, table.num_rows, 97):
        rows = table.slice(low, 97)
        packed, slices = outcomes.packed(rows), np.full(rows.num_rows, 7)
        labels = outcomes.labels_unpacked(outcomes.labels_packed(outcomes.labels(rows)))
        wrong = np.roll(labels, 1, axis=0)
        parts += [outcomes.fold_labels(slices, packed, wrong), outcomes.fold_rows(slices, packed)]
        parts += [outcomes.fold_labels(slices, packed, one, sign) for one, sign in ((wrong, -1), (labels, 1))]
    whole = merge(parts)
    return total([whole.between(7 * outcomes.size, 8 * outcomes.size)], outcomes.size)


def lists(column, kind: str) -> pa.Array:
    return pa.array(column, ARROW_TYPES[kind])


def shops(seed: int, rows: int, longest: int = 30):
    rng = np.random.default_rng(seed)
    names = [f"item {i}" for i in range(60)]
    ranked = [list(rng.permutation(names)[: rng.integers(0, longest)]) for _ in range(rows)]
    bought = [list(rng.choice(names, rng.integers(0, 9))) for _ in range(rows)]  # some of them twice
    for at in rng.integers(0, rows, rows // 10):
        ranked[at] = None
    for at in rng.integers(0, rows, rows // 3):
        bought[at] = None
    return ranked, bought


def as_table(ranked, bought) -> pa.Table:
    items = [None if r is None else [{"item_id": i} for i in r] for r in ranked]
    return pa.table({"offers": lists(items, "RANKED_LIST"), "bought": lists(bought, "ARRAY(STRING)")})


def by_hand(ranked, bought, k: int) -> dict[str, float]:
    found = {name: [] for name in ("precision", "recall", "map", "ndcg", "rank")}
    for r, b in zip(ranked, bought, strict=True):
        if r is None or b is None:
            continue
        relevant, hits = set(b), [item in set(b) for item in r]
        found["precision"].append(sum(hits[:k]) / k)
        found["rank"].append(next((1 / (i + 1) for i, h in enumerate(hits[:20]) if h), 0.0))
        if relevant:
            found["recall"].append(sum(hits[:k]) / len(relevant))
            most = min(k, len(relevant))
            found["map"].append(
                sum(sum(hits[: i + 1]) / (i + 1) for i in range(len(hits[:k])) if hits[i]) / most
            )
            ideal = sum(1 / np.log2(i + 2) for i in range(most))
            found["ndcg"].append(sum(h / np.log2(i + 2) for i, h in enumerate(hits[:k])) / ideal)
    return found


def test_scores_of_ranked_lists_at_every_k_and_their_errors_are_a_direct_count_s():
    ranked, bought = shops(1, 400)
    outcomes = space(OFFERS, OutputType.RANKED_LIST)
    totals, block = counted(outcomes, as_table(ranked, bought)), outcomes.everybody
    assert (totals[0], labelled_of(block, totals)) == (400, sum(b is not None for b in bought))
    for k in (1, 3, 10, 20):
        known = by_hand(ranked, bought, k)
        told = {v.metric: v for v in ranked_metrics(block, totals, k)}
        assert set(told) == {f"{name}_at_{k}" for name in ("precision", "recall", "map", "ndcg")} | {"mrr"}
        for name, values in known.items():
            one = told["mrr" if name == "rank" else f"{name}_at_{k}"]
            assert one.value == pytest.approx(np.mean(values), abs=1e-8), (name, k)
            assert one.error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)), rel=1e-5)
            assert one.n == len(values)


def test_mrr_of_long_lists_says_by_how_much_it_may_be_higher():
    ranked, bought = shops(2, 300, longest=60)
    outcomes = space(OFFERS, OutputType.RANKED_LIST)
    totals = counted(outcomes, as_table(ranked, bought))
    block = outcomes.everybody
    whole = [
        next((1 / (i + 1) for i, item in enumerate(r) if item in b), 0.0)
        for r, b in zip(ranked, bought, strict=True)
        if r is not None and b is not None
    ]
    told = ranked_metrics(block, totals, 1)[-1].value
    assert told < np.mean(whole) <= told + late_rank(block, totals)


def test_a_label_of_more_items_than_are_remembered_is_counted_as_that_and_scores_nothing():
    outcomes = space(OFFERS, OutputType.RANKED_LIST)
    many = [f"item {i}" for i in range(31)]
    totals = counted(outcomes, as_table([["item 3"], ["item 3"], []], [many, many[:30], []]))
    block = outcomes.everybody
    codes = (block.LABELLED, block.TOO_MANY, block.PAIRED, block.RELEVANT)
    assert [totals[code] for code in codes] == [3, 1, 2, 1]


def test_worse_lists_are_found_worse_and_the_same_ones_are_not():
    outcomes = space(OFFERS, OutputType.RANKED_LIST)

    def window(seed: int, share: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        ranked, _ = shops(seed, 400)
        ranked = [r or ["item 1"] for r in ranked]
        bought = [[r[0]] if rng.random() < share else [r[-1]] for r in ranked]
        return counted(outcomes, as_table(ranked, bought))

    judge = PerformanceJudge(outcomes, window(1, 0.6), 0.5, 100)
    assert not judge.by_labels(window(2, 0.6)).worse
    verdict = judge.by_labels(window(3, 0.4))
    assert {one.value.metric for one in verdict.values if one.worse} == {"ndcg_at_10", "mrr"}


def step(p: float) -> list[dict]:
    return [{"token": "a", "likelihood": p / 2}, {"token": "b", "likelihood": p}]


def test_tokens_are_counted_without_a_label():
    rng = np.random.default_rng(3)
    rows = [list(rng.random(rng.integers(0, 12))) for _ in range(500)] + [None]
    steps = [None if row is None else [step(p) for p in row] for row in rows]
    steps[0] = [[], *steps[0]]  # a place without any token has a length and no likelihood
    outcomes = space(ODDS, OutputType.TOKEN_SEQUENCE)
    totals = counted(outcomes, pa.table({"odds": lists(steps, "TOKEN_LIKELIHOODS")}))
    told = {v.metric: v for v in metrics_of(outcomes.everybody, totals, (), 0.5)}
    known = {
        "mean_likelihood": [np.mean(row) for row in rows if row],
        "likelihood_deviation": [np.std(row, ddof=1) for row in rows if row and len(row) > 1],
        "sequence_length": [len(row) for row in steps if row is not None],
    }
    for name, values in known.items():
        assert told[name].value == pytest.approx(np.mean(values), abs=1e-8)
        assert told[name].error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)), rel=1e-5)
    assert labelled_of(outcomes.everybody, totals) == 0
    lengths = space(WORDS, OutputType.TOKEN_SEQUENCE)
    texts = lists([["a"] * (n % 5) for n in range(100)], "TOKENS")
    (length,) = metrics_of(lengths.everybody, counted(lengths, pa.table({"words": texts})), (), 0.5)
    assert (length.metric, length.value) == ("sequence_length", 2.0)


def test_each_of_several_labels_is_counted_against_the_rest_in_every_group():
    rng = np.random.default_rng(4)
    n = 2000
    data = {f"p{c}": rng.random(n) for c in range(3)}
    data |= {f"y{c}": (rng.random(n) < data[f"p{c}"]).astype(int) for c in range(3)}
    data["age"], data["sex"] = rng.integers(18, 90, n), rng.choice(["f", "m"], n)
    columns = {name: pa.array(values) for name, values in data.items()}
    unknown = rng.random(n) < 0.2
    columns["y1"] = pa.array(data["y1"], mask=unknown)
    outcomes = space([*INPUTS, *TOPICS], OutputType.MULTILABEL)
    totals = counted(outcomes, pa.table(columns))
    for place, group in ((0, np.ones(n, dtype=bool)), (outcomes.names().index("m"), data["sex"] == "m")):
        counts = outcomes.block_of(place, totals)
        told = {v.metric: v for v in metrics_of(outcomes.part, counts, ("p0", "p1", "p2"), 0.37)}
        assert counts[0] == labelled_of(outcomes.part, counts) == group.sum()
        rights = []
        for c in range(3):
            known = group & ~unknown if c == 1 else group
            y, p = data[f"y{c}"][known], data[f"p{c}"][known]
            right = {"accuracy": sk.accuracy_score, "precision": sk.precision_score, "f1": sk.f1_score}
            for name, score in right.items():
                assert told[f"{name}[p{c}]"].value == pytest.approx(score(y, p >= 0.37), abs=1e-12)
            assert told[f"auc[p{c}]"].value == pytest.approx(sk.roc_auc_score(y, p), abs=1e-3)
            rights.append(sk.accuracy_score(y, p >= 0.37))
        assert told["accuracy"].value == pytest.approx(np.mean(rights))


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        (OFFERS[:1], OutputType.RANKED_LIST),
        (TOPICS[:4], OutputType.MULTILABEL),
        ([{"name": "t", "valueType": "UNSTRUCTURED_TEXT", "stage": "PREDICTED_VALUE", "position": 0}],
         OutputType.TOKEN_SEQUENCE),
        (OFFERS, OutputType.OBJECT_DETECTION),
        ([a | {"name": a["name"] + x, "attributeLink": a["attributeLink"] + x}
          for x in "abcdefg" for a in TOPICS], OutputType.MULTILABEL),
    ],
    ids=["no truth", "not every truth", "plain text", "another kind", "too many"],
)  # fmt: skip
def test_what_cannot_be_counted_is_left_to_rows(attributes, kind):
    assert outcome_of_lists([ResolvedAttribute.model_validate(a) for a in attributes], kind) is None
