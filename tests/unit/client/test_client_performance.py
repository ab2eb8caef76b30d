"""What the command `performance` shows of an answer."""

from modelwarden.client.performance_telling import performance_lines

METRIC = {"value": 0.8123, "lower": 0.79, "upper": 0.83, "n": 1200, "baseline": 0.85}
WINDOW = {
    "start": "2026-03-01T00:00:00Z",
    "end": "2026-03-02T00:00:00Z",
    "rows": 1500,
    "labelled": 1200,
    "coverage": 0.8,
    "provisional": True,
    "metrics": {"accuracy": METRIC, "auc": {"value": None, "n": 3, "withheld": "n=3 < 30"}},
    "estimated": {"withheld": None, "metrics": {"accuracy": {"value": 0.82, "lower": 0.8, "upper": 0.84}}},
}
ANSWER = {
    "task": "binary",
    "threshold": 0.5,
    "segment": None,
    "attribute": None,
    "source": "partials",
    "query_result": [WINDOW],
}


def test_a_window_is_told_with_coverage_intervals_reference_and_estimate():
    text = "\n".join(performance_lines(ANSWER))
    assert "binary model, counted from partials, positive from 0.5" in text
    assert (
        "2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z: 1500 rows, 1200 with a label (80 %, provisional)"
        in text
    )
    accuracy = next(line for line in text.splitlines() if "accuracy" in line)
    for part in ("0.812", "0.790 to 0.830", "0.850", "1200", "0.820 (0.800 to 0.840)"):
        assert part in accuracy
    assert "n=3 < 30" in text


def test_groups_segments_batches_and_estimates_that_are_withheld_are_named():
    group = {**WINDOW, "group": "f", "estimated": None}
    window = WINDOW | {"groups": [group], "estimated": {"withheld": "no reference", "metrics": {}}}
    text = "\n".join(performance_lines(ANSWER | {"attribute": "sex", "query_result": [window]}))
    assert "sex = f: 1500 rows" in text
    assert "no estimate: no reference" in text
    batch = {k: v for k, v in WINDOW.items() if k not in ("start", "end")} | {"batch_id": "jan"}
    lines = performance_lines(ANSWER | {"segment": "old", "query_result": [batch]})
    assert lines[2].startswith("batch jan, segment old: 1500 rows")
    assert performance_lines(ANSWER | {"query_result": []})[-1] == "no row of this window is there"
