"""A cell's report is read by operators that are older or newer than the cell."""

import json
from datetime import UTC, datetime

import pytest

from modelwarden.resources.report import StatusReport

METRIC = {
    "metric": "accuracy", "value": 0.71, "lower": 0.67, "upper": 0.75, "baseline": 0.85, "n": 400,
    "worse": True, "pValue": 0.0, "withheld": None,
}  # fmt: skip
FULL = {
    "modelId": "m",
    "version": "0.1.0",
    "startedAt": "2026-01-01T00:00:00Z",
    "settingsGeneration": 4, "settingsHash": "0123456789",
    "settingsError": None,
    "ready": True,
    "phase": "Ready",
    "reason": None,
    "rows": {
        "acknowledged": 10, "stored": 7, "rejectedLater": 1, "sampledOut": 1, "refused": 3,
        "repeated": 2, "conflicts": 1, "lastHour": 5, "waiting": 1,
        "labels": {"acknowledged": 4, "stored": 3, "waiting": 2, "repeated": 1, "sampledOut": 5},
    },
    "log": {"bytes": 5, "segments": 1, "uuid": "u", "unwritten": 1},
    "tables": {"inferences": {"version": 3, "rows": 7, "files": 2}},
    "newestInference": "2026-01-01T00:00:00Z",
    "newestArrival": "2026-01-01T00:00:01Z",
    "reference": [
        {
            "name": "r", "state": "profiled", "records": 9, "partnerRecordCount": 9, "contentHash": "c",
            "profileHash": "p", "message": None, "createdAt": "2026-01-01T00:00:00Z", "closedAt": None,
            "sourceHash": "s", "loaded": True,
        }
    ],
    "activeReference": "r",
    "batches": {"open": 1, "closed": 2},
    "drift": {
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-02T00:00:00Z", "batchId": "b", "rows": 7,
        "metric": "PSI", "state": "Ok", "drifted": 1, "checked": 2,
        "features": [
            {
                "name": "a", "stage": "PIPELINE_INPUT", "score": 0.3, "threshold": 0.2, "pValue": 0.001,
                "n": 7, "drifted": True, "surplus": 0.02, "persistent": False,
            }
        ],
        "pairs": [
            {"one": "a", "other": "b", "change": 0.2, "pValue": 0.0, "broken": True, "persistent": True}
        ],
        "broken": 1, "judged": 2,
    },
    "dataQuality": {
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-02T00:00:00Z", "batchId": "b", "rows": 7,
        "values": [
            {
                "attribute": "a", "question": "missing", "rows": 3, "share": 0.4, "referenceShare": 0.1,
                "pValue": 0.0, "raised": True, "persistent": True,
            }
        ],
        "repeats": {"share": 0.1, "raised": False},
        "volume": {"rows": 7, "least": 2.0, "most": 30.0, "raised": False},
        "lag": {
            "medianSeconds": 1.0, "p95Seconds": 5.0, "usualSeconds": None, "lateShare": None, "raised": False,
        },
        "raised": 1,
    },
    "maintenance": {
        "compactions": 2, "filesMerged": 40, "lastCompaction": "2026-01-01T00:00:00Z",
        "lastRetirement": None, "retired": 0, "forgotten": 3, "problem": None,
    },
    "forget": {"requests": 2, "pending": 1},
    "coverage": None,
    "performance": {
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-02T00:00:00Z", "batch": None,
        "rows": 500, "labelled": 400, "coverage": 0.8, "provisional": False,
        "metrics": [METRIC],
        "estimated": {
            "metrics": [METRIC], "trusted": True, "withheld": None, "missed": 0, "checked": 3,
            "windowStart": None, "windowEnd": "2026-01-03T00:00:00Z",
        },
        "populations": [{"attribute": "sex", "group": "f", "segment": None, "metric": METRIC}],
        "worse": True, "by": "labels", "judged": 3, "reason": "accuracy is 0.71, the reference has 0.85",
    },
    "fairness": {
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-02T00:00:00Z",
        "labelledStart": "2026-01-01T00:00:00Z", "labelledEnd": "2026-01-02T00:00:00Z", "batch": None,
        "rows": 900, "labelled": 800, "threshold": 0.5,
        "attributes": [{
            "attribute": "sex", "fourFifths": "fails", "ratio": 0.6, "ratioLow": 0.5, "ratioHigh": 0.7,
            "groups": 2, "withheld": 1,
            "gaps": [{"metric": "selection_rate", "lowest": "f", "highest": "m", "difference": 0.2,
                      "low": 0.1, "high": 0.3, "ratio": 0.6, "significant": True}],
        }],
    },
    "anomaly": {
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-02T00:00:00Z", "state": "Ok",
        "scored": 500, "beyond": 9, "rate": 0.018, "expected": 0.01, "pValue": 0.07, "raised": False,
        "persistent": False, "limit": 0.61, "meanScore": 0.45, "referenceMeanScore": 0.44,
        "attributes": {"age": 4}, "waiting": 3, "problem": None,
    },
    "enrichments": [{
        "kind": "anomaly", "type": "AnomalyDetection", "state": "Ready", "reason": "Trained",
        "message": "on 5 rows",
        "missing": [], "due": False, "wanted": "ab", "installed": "ab", "artefactHash": "cd",
        "trainedAt": "2026-01-01T00:00:00Z",
    }],
    "hotspots": {
        "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-08T00:00:00Z", "batchId": None,
        "rows": 900, "labelled": 800, "metric": "accuracy", "threshold": 0.5, "overall": 0.8, "count": 1,
        "worst": "where age > 60: accuracy 0.41 instead of 0.83 elsewhere (90 rows measured)",
        "worstValue": 0.41, "worstRest": 0.83, "worstRows": 180, "newInsights": 2, "note": "",
    },
    "server": {
        "planHash": "p", "waitingFor": [], "predictions": 3,
        "assets": [{
            "slot": "explain-project", "sourceHash": "upload", "state": "Present", "due": False,
            "message": "", "sha256": "ab", "bytes": 10,
        }],
        "environments": [{
            "hash": "ef", "roles": ["explain"], "state": "Ready", "due": False, "pythonVersion": "3.8",
            "message": "", "sha256": "cd", "bytes": 20,
        }],
        "pods": [{
            "pod": "credit-server-1", "planHash": "p", "version": "0.1.0", "startedAt": None,
            "predicted": 1, "failedPredictions": 0,
            "codes": [{
                "role": "explain", "codeHash": "gh", "state": "Ready", "message": "", "python": "3.11.2",
                "isolation": "seccomp and Landlock 6",
                "path": "trees", "why": "verified", "difference": 0.0, "differs": False, "restarts": 0,
                "before": False,
            }],
        }],
        "explanations": {
            "chosen": 5, "explained": 3, "waiting": 1, "failed": 1, "skipped": 0, "late": 0,
            "newest": None, "path": "trees", "problem": None, "top": [["age", 0.2]], "agreement": 0.98,
        },
    },
}  # fmt: skip


def test_a_report_is_written_as_it_was_agreed() -> None:
    report = StatusReport.from_json(json.dumps(FULL))
    assert json.loads(report.to_json()) == FULL
    assert report.newest_inference == datetime(2026, 1, 1, tzinfo=UTC)


def test_fields_of_a_newer_cell_are_left_out() -> None:
    newer = FULL | {"new": 1, "rows": {"acknowledged": 10, "new": 1}}
    assert StatusReport.from_json(json.dumps(newer)).rows.acknowledged == 10


def test_a_cell_that_is_just_starting_need_not_know_anything() -> None:
    report = StatusReport.from_json('{"modelId": "m"}')
    assert not report.ready
    assert report.phase == "Recovering"


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"modelId": "m", "rows": 3}'])
def test_what_is_no_report_is_a_value_error(body: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        StatusReport.from_json(body)
