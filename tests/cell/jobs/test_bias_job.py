"""From a reference to thresholds and answers about groups, over loopback: the Job, the doors, the status."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from biased_reference import FIRST, identity, reference
from query_rooms import until
from reference_rooms import parquet
from served_cell import Served, served
from store_process import KEY

from modelwarden.client.cli import main as command_line
from modelwarden.resources.cell import EnrichmentSettings, MitigationSettings
from modelwarden.resources.keys import job_key
from modelwarden.resources.report import EnrichmentReport, StatusReport
from modelwarden_server.jobs.command import DONE, run
from modelwarden_server.schema.compiled import INSTANT

IDENTITY = identity()
MODEL = f"/api/v3/models/{IDENTITY.model_id}"
CURVES, THRESHOLDS = (f"{MODEL}/enrichments/bias_mitigation/{name}" for name in ("curves", "thresholds"))
ROWS, SENT = 4000, 3000
START = "2026-01-02T00:00:00Z"
_DAY = 86_400_000_000


def wish(store: Served, **more: Any) -> None:
    told = MitigationSettings(enabled=True).model_copy(update=more)
    settings = store.cell.settings
    settings.current = settings.current.model_copy(
        update={"enrichments": EnrichmentSettings(bias_mitigation=told)}
    )


def entry(store: Served) -> EnrichmentReport:
    found = StatusReport.from_json(json.dumps(store.status())).enrichments
    return next(one for one in found if one.kind == "bias")


def train(store: Served) -> int:
    name = entry(store).wanted
    assert name is not None
    arguments = ["train", "--store", store.url, "--kind", "bias", "--input-hash", name]
    return run(arguments, {"MODELWARDEN_JOB_KEY": job_key(KEY, "train", f"bias_{name}")})


def upload_reference(store: Served) -> None:
    files = [("reference_data", ("x.parquet", parquet(reference(ROWS, seed=1))))]
    url = f"{MODEL}/reference_data"
    assert store.http.post(url, files=files, params={"dataset": "train"}).status_code == 207
    close = {"status": "uploaded", "total_record_count": ROWS}
    assert store.http.patch(url, json=close, params={"dataset": "train"}).status_code == 200
    content_hash = store.dataset("train")["contentHash"]
    arguments = ["profile", "--store", store.url, "--dataset", "train", "--content-hash", content_hash]
    assert run(arguments, {"MODELWARDEN_JOB_KEY": job_key(KEY, "profile", content_hash)}) == DONE


def sent_rows() -> pa.Table:
    table = reference(SENT, seed=2)
    at = pa.array(FIRST + _DAY + (np.arange(SENT) % 600) * 1_000_000).cast(INSTANT)
    ids = pa.array([f"r{n}" for n in range(SENT)])
    table = table.set_column(table.schema.get_field_index("inference_timestamp"), "inference_timestamp", at)
    return table.append_column("partner_inference_id", ids).append_column("ground_truth_timestamp", at)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("fair-cell"), identity=IDENTITY) as found:
        assert entry(found).state == "Disabled"
        wish(found)
        assert entry(found).missing == ("a closed reference dataset",)
        upload_reference(found)
        files = [("inference_data", ("x.parquet", parquet(sent_rows())))]
        answer = found.http.post(f"{MODEL}/inferences/file", files=files)
        assert answer.json()["counts"]["failure"] == 0, answer.text
        yield found


def get(store: Served, url: str, **params: Any) -> Any:
    answer = store.http.get(url, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def trained(store: Served) -> Served:
    assert get(store, CURVES)["data"] is None
    assert train(store) == DONE
    return store


def test_a_job_trains_thresholds_and_their_curves_are_there_without_a_restart(trained: Served) -> None:
    assert entry(trained).state == "Ready"
    assert get(trained, f"{MODEL}/enrichments/bias_mitigation") == {"enabled": True, "status": "Ready"}
    curves = get(trained, CURVES, attribute_id="sex", constraint="demographic_parity")["data"]
    assert {curve["categorical_value"] for curve in curves} == {"f", "m"}
    assert get(trained, THRESHOLDS)["artefact_hash"] == entry(trained).artefact_hash


def test_exported_thresholds_treat_groups_alike_in_a_query_of_what_was_sent(trained: Served) -> None:
    told = get(trained, THRESHOLDS, attribute="sex", constraint="demographic_parity")["recommended"][0]
    decided = told["query_function"] | {"alias": "decided"}
    query = {
        "select": [
            {"function": "avg", "alias": "rate", "parameters": {"property": {"alias_ref": "decided"}}},
            {"property": "sex"},
        ],
        "subquery": {"select": [decided, {"property": "sex"}]},
        "group_by": [{"property": "sex"}],
    }
    answer = trained.http.post(f"{MODEL}/inferences/query", json=query)
    rates = {row["sex"]: row["rate"] for row in answer.json()["query_result"]}
    before = get(trained, f"{MODEL}/fairness", attribute="sex", start=START, end="2026-01-02T00:10:00Z")
    assert before["source"] == "partials"
    assert abs(rates["f"] - rates["m"]) < 0.05 < before["demographic_parity_difference"]


def test_groups_are_told_in_the_answer_the_status_and_the_series(store: Served) -> None:
    told = get(store, f"{MODEL}/fairness", attribute="sex")
    assert (told["rows"], told["labelled"]) == (SENT, SENT)
    rows = sent_rows().to_pandas()
    women = next(group for group in told["groups"] if group["group"] == "f")
    assert women["rates"]["selection_rate"]["value"] == pytest.approx((rows[rows.sex == "f"].p >= 0.5).mean())
    assert told["four_fifths"]["verdict"] == "fails"
    assert told["reference"]["rows"] == ROWS
    by_rows = get(store, f"{MODEL}/fairness", attribute="town")
    assert by_rows["source"] == "rows"
    assert by_rows["four_fifths"]["verdict"] == "holds"
    until(lambda: (store.status()["fairness"] or {}).get("labelled") == SENT)
    report = StatusReport.from_json(json.dumps(store.status())).fairness
    assert report is not None
    sex = next(one for one in report.attributes if one.attribute == "sex")
    assert (sex.four_fifths, sex.gaps[0].significant) == ("fails", True)
    assert {gap.lowest for gap in sex.gaps} == {None}  # sexes are not declared, so they are values of rows
    text = store.http.get("/metrics").text
    assert 'modelwarden_fairness_four_fifths{attribute="sex"} 0.0' in text
    assert 'modelwarden_fairness{attribute="age",group="(30, 60]",metric="accuracy"}' in text
    assert 'group="f"' not in text


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({}, "attribute:"),
        ({"attribute": "sex", "treshold": "0.5"}, "treshold:"),
        ({"attribute": "sex", "threshold": "high"}, "threshold:"),
        ({"attribute": "sex", "start": "yesterday"}, "start:"),
        ({"attribute": "sex", "filter": "{"}, "filter:"),
        ({"attribute": "sex", "base_group": "x"}, "base_group:"),
        ({"attribute": "nobody"}, "attribute:"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_parameter(
    store: Served, params: dict[str, str], named: str
) -> None:
    answer = store.http.get(f"{MODEL}/fairness", params=params)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(named)


def test_filters_and_groups_reach_the_answer_as_data(store: Served) -> None:
    old = get(
        store,
        f"{MODEL}/fairness",
        attribute="sex",
        filter='[{"property":"age","comparator":"gt","value":60}]',
    )
    rows = sent_rows().to_pandas()
    assert (old["source"], old["rows"]) == ("rows", int((rows.age > 60).sum()))
    assert old["reference"]["rows"] < ROWS


def test_the_command_line_shows_groups_and_thresholds(
    trained: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--url", trained.url, "--key", KEY]
    assert command_line(["fairness", "sex", "--base", "m", "--check", *where]) == 2
    shown = capsys.readouterr().out
    assert "four-fifths rule: fails; f is selected" in shown
    assert "differs" in shown
    assert command_line(["mitigation", "sex", "--constraint", "equal_opportunity", *where]) == 0
    shown = capsys.readouterr().out
    assert "from no to yes" in shown
    assert "never applies" in shown.replace("\n", " ")


def test_off_takes_the_curves_away_and_on_trains_the_same_bytes(trained: Served) -> None:
    before = entry(trained).artefact_hash
    wish(trained, enabled=False)
    assert entry(trained).state == "Disabled"
    assert get(trained, CURVES)["data"] is None
    assert trained.http.get(THRESHOLDS).status_code == 404
    wish(trained)
    assert train(trained) == DONE
    assert entry(trained).artefact_hash == before


def test_what_cannot_be_trained_is_failed_with_the_reason(store: Served) -> None:
    settings = store.cell.settings
    kept = settings.current
    wish(store, attributes=("town",), constraints=("equal_opportunity",))
    try:
        assert entry(store).missing == ("monitorForBias on the attribute town",)
    finally:
        settings.current = kept


def test_nobody_gets_the_thresholds_without_the_key(store: Served) -> None:
    for url in (CURVES, THRESHOLDS, f"{MODEL}/fairness?attribute=sex"):
        assert httpx.get(f"{store.url}{url}").status_code == 401
