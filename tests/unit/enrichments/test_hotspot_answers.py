"""What is said of a search: nodes, the report and insights, for two classes, more classes and numbers."""

from datetime import UTC, datetime, timedelta

import census_like
import numpy as np
import pytest
from planted import columns, searched
from risky_town import identity
from sklearn.metrics import f1_score, precision_score, recall_score

from modelwarden.resources.cell import EnrichmentSettings, HotspotSettings
from modelwarden_server.analysis.hotspots.outcomes import Classified, Metric, Outcome, Regressed
from modelwarden_server.analysis.hotspots.result import Seen, result_of
from modelwarden_server.analysis.hotspots.rules import Interval, Rule
from modelwarden_server.analysis.hotspots.table import Table
from modelwarden_server.enrichments.hotspot_answers import (
    Asked,
    Telling,
    configured,
    hidden_of,
    insights_of,
    nodes,
    report,
)
from modelwarden_server.enrichments.hotspot_results import Searched
from modelwarden_server.enrichments.hotspot_subjects import Subject

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Subject("window", start=START, end=START + timedelta(days=7))
TABLE = columns(6000, seed=1, many=4)
BAD = TABLE.fulfil(Rule.of(Interval("x0", low=0.8)))
LOANS = identity()


def search(outcome: Outcome, table: Table = TABLE, subject: Subject = WINDOW) -> tuple[Searched, np.ndarray]:
    found, finding = searched(table, outcome)
    classified = outcome if isinstance(outcome, Classified) else None
    labelled = int(outcome.labelled.sum())
    result = result_of(found, Seen(table.rows, labelled, ~finding, classified, (), subject.key))
    return Searched(subject, {"until": "2026-03-09T00:00:00Z"}, "r" * 64, result, table.rows), finding


@pytest.fixture(scope="module")
def three() -> tuple[Searched, np.ndarray, Classified]:
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, TABLE.rows).astype(np.int32)
    wrong = rng.random(TABLE.rows) < np.where(BAD, 0.6, 0.1)
    predicted = np.where(wrong, (true + 1) % 3, true).astype(np.int32)
    outcome = Classified(("a", "b", "c"), true, predicted)
    return (*search(outcome), outcome)


def test_scores_of_many_classes_are_means_over_them(three: tuple[Searched, np.ndarray, Classified]) -> None:
    found, finding, outcome = three
    (node,) = nodes(found, Asked(Metric.ACCURACY, None))
    inside = _rows(node) & ~finding
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(outcome.true[inside], outcome.predicted[inside], average="macro")
        assert node[name] == pytest.approx(expected)
    assert node["accuracy"] == pytest.approx((outcome.true == outcome.predicted)[inside].mean())
    assert node["impurity"] == pytest.approx(2 * node["accuracy"] * (1 - node["accuracy"]))
    assert node["n_samples"] == inside.sum()
    assert (node["feature"], node["cutoff"]) == ("x0", node["rules"]["x0"]["gt"])
    assert Metric.PRECISION not in found.result.overlaps


def _rows(node: dict) -> np.ndarray:
    return TABLE.fulfil(Rule.of(Interval("x0", low=node["rules"]["x0"]["gt"])))


def test_a_regression_is_judged_by_its_error_and_has_no_threshold() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=TABLE.rows)
    found, _ = search(Regressed(true, true + rng.normal(size=TABLE.rows) * np.where(BAD, 3, 1)))
    settings = HotspotSettings(enabled=True)
    metric, places = configured(found.result, settings)
    assert (metric, len(places)) == (Metric.ABSOLUTE_ERROR, 1)
    (one,) = insights_of(found, Telling(settings, LOANS.model_id, START))
    assert (one.metric_type, one.threshold_value) == ("absolute_errorhotspot", None)
    (node,) = nodes(found, Asked(Metric.ABSOLUTE_ERROR, 1.5))
    assert (node["accuracy"], node["precision"], node["impurity"], node["gt_to_info"]) == (
        None,
        None,
        None,
        {},
    )
    assert nodes(found, Asked(Metric.ABSOLUTE_ERROR, 5.0)) == []
    assert nodes(found, Asked(Metric.ACCURACY, 0.5)) == []


def test_the_report_tells_the_worst_region_or_why_nothing_was_searched(
    three: tuple[Searched, np.ndarray, Classified],
) -> None:
    base = census_like.settings()
    on = EnrichmentSettings(hotspots=HotspotSettings(enabled=True))
    settings = base.model_copy(update={"enrichments": on})
    told = report(three[0], LOANS, settings, 4)
    assert told is not None
    assert (told.count, told.new_insights, told.window_end) == (1, 4, WINDOW.end)
    assert told.worst is not None
    assert told.worst.startswith("where x0 > 0.")
    assert told.worst_value is not None
    assert f"accuracy {told.worst_value:.3g} instead of" in told.worst
    right = Classified(("a", "b"), np.zeros(TABLE.rows, np.int32), np.zeros(TABLE.rows, np.int32), 1)
    nothing = report(search(right)[0], LOANS, settings, 0)
    assert nothing is not None
    assert (nothing.count, nothing.worst) == (0, None)
    assert "every row is right" in nothing.note
    assert report(None, LOANS, settings, 0) is None


def test_texts_that_nobody_declared_are_hidden() -> None:
    settings = census_like.settings().model_copy(update={"sensitivity": {"income": "mask"}})
    assert hidden_of(LOANS, settings) == {"channel", "town", "income"}, "categories, but only rows tell which"


def test_of_the_reference_nobody_is_told(three: tuple[Searched, np.ndarray, Classified]) -> None:
    reference = Searched(Subject("reference", "people", "c" * 64), {}, "r", three[0].result, TABLE.rows)
    assert insights_of(reference, Telling(HotspotSettings(), LOANS.model_id, START)) == []
    (node,) = nodes(reference, Asked(Metric.ACCURACY, None))
    assert node["filter"] == Rule.of(Interval("x0", low=node["rules"]["x0"]["gt"])).filter
