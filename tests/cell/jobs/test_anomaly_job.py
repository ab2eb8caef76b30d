"""Anomalies and expected errors end to end over loopback: rows in, the Jobs, scores out of every door."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from query_rooms import IDENTITY, people, until
from scored_rows import model
from served_cell import INFERENCES, Served, served
from store_process import KEY

from modelwarden.resources.attributes import InputType, OutputType
from modelwarden.resources.cell import AnomalySettings, EnrichmentSettings
from modelwarden.resources.keys import job_key
from modelwarden.resources.report import EnrichmentReport, StatusReport
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.apps import Rooms, furnish
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments.anomaly import AnomalyKind
from modelwarden_server.enrichments.kind import InstalledTraining
from modelwarden_server.enrichments.loss import LossKind
from modelwarden_server.jobs.command import DONE, run

MODEL = f"/api/v3/models/{IDENTITY.model_id}"
REGRESSION = IDENTITY.model_copy(update={"output_type": OutputType.REGRESSION})
KINDS = ("anomaly", "loss")


def sent(store: Served, rows: int, first: int, older: float = 0.0) -> list[str]:
    """Rows of an hour, through the door; their ids."""
    ids = [f"r{first + i}" for i in range(rows)]
    data = people(rows, seed=first + 1, older=older).drop_columns(["paid"]).to_pylist()
    body = [
        {
            "partner_inference_id": name,
            "inference_timestamp": f"2026-03-01T12:{i % 60:02}:00Z",
            "inference_data": row,
        }
        for i, (name, row) in enumerate(zip(ids, data, strict=True))
    ]
    answer = store.http.post(INFERENCES, json=body)
    assert answer.status_code == 207, answer.text
    assert answer.json()["counts"]["failure"] == 0
    return ids


def entry(store: Served, kind: str) -> EnrichmentReport:
    report = StatusReport.from_json(json.dumps(store.status()))
    return next(e for e in report.enrichments if e.kind == kind)


def job(store: Served, *arguments: str, purpose: str, about: str) -> int:
    key = job_key(KEY, purpose, about)
    return run([*arguments[:1], "--store", store.url, *arguments[1:]], {"MODELWARDEN_JOB_KEY": key})


def train(store: Served, kind: str) -> None:
    wanted = entry(store, kind).wanted
    assert wanted is not None
    arguments = ("train", "--kind", kind, "--input-hash", wanted)
    assert job(store, *arguments, purpose="train", about=f"{kind}_{wanted}") == DONE
    assert entry(store, kind).state == "Ready"


def anomalies(store: Served, **asked: object) -> dict:
    answer = store.http.get(f"{MODEL}/anomalies", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """100 rows that were there before, 300 like the reference, 60 much older people."""
    with served(tmp_path_factory.mktemp("cell"), identity=REGRESSION) as found:
        assert entry(found, "anomaly").missing == ("a closed reference dataset",)
        nothing = anomalies(found)
        assert (nothing["scored"], nothing["start"], nothing["end"]) == (0, None, None)
        sent(found, 100, 0)
        content = found.closed_dataset("people", 1000, seed=5)
        profiled = ("profile", "--dataset", "people", "--content-hash", content)
        assert job(found, *profiled, purpose="profile", about=content) == DONE
        for kind in KINDS:
            train(found, kind)
        sent(found, 300, 100)
        sent(found, 60, 400, older=45)
        until(lambda: anomalies(found)["scored"] == 460)
        yield found


def test_the_window_has_more_anomalies_than_the_reference_explains(store: Served) -> None:
    found = anomalies(store, limit=20)
    assert (found["rows"], found["source"], found["complete"]) == (460, "partials", True)
    assert found["beyond"] == sum(found["histogram"][99:])
    assert found["rate"] == pytest.approx(found["beyond"] / 460)
    assert found["raised"]
    assert found["p_value"] < 0.01
    assert found["mean_score"] > found["reference_mean_score"]
    scores = [row["anomaly_score"] for row in found["worst"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 20
    old = [row for row in found["worst"] if int(row["partner_inference_id"][1:]) >= 400]
    assert len(old) > 10
    assert max(found["attributes"], key=found["attributes"].get) == "age"


def test_any_other_window_is_told_from_the_rows_and_comes_out_the_same(store: Served) -> None:
    whole = anomalies(store, start="2026-03-01T12:00:00Z", end="2026-03-01T13:00:00Z", limit=0)
    cut = anomalies(store, start="2026-03-01T12:00:00Z", end="2026-03-01T12:59:59Z", limit=0)
    assert (whole["source"], cut["source"]) == ("partials", "rows")
    same = ("scored", "beyond", "rate", "p_value", "histogram", "attributes", "mean_score")
    assert {key: whole[key] for key in same} == {key: cut[key] for key in same}
    open_end = anomalies(store, start="2026-03-01T12:30:00Z", limit=3)
    assert (open_end["source"], open_end["scored"]) == ("rows", 220)


def test_status_and_series_tell_the_newest_window(store: Served) -> None:
    until(lambda: store.status()["anomaly"]["scored"] == 460)
    told = store.status()["anomaly"]
    assert (told["state"], told["raised"], told["waiting"], told["problem"]) == ("Ok", True, 0, None)
    assert "age" in told["attributes"]
    series = dict(
        line.rsplit(" ", 1) for line in store.http.get("/metrics").text.splitlines() if "anomaly_" in line
    )
    assert float(series["modelwarden_anomaly_rate"]) == pytest.approx(told["rate"])
    assert float(series["modelwarden_anomaly_window_rows"]) == 460
    assert float(series["modelwarden_anomaly_flag"]) == 1


def test_enriched_rows_have_their_scores_and_can_be_asked_by_them(store: Served) -> None:
    def asked(**query: object) -> list[dict]:
        answer = store.http.post(f"{INFERENCES}/query", json={"from": "enriched"} | query)
        assert answer.status_code == 200, answer.text
        return answer.json()["query_result"]

    (row,) = asked(
        select=[{"property": "*"}], order_by=[{"property": "anomaly_score", "direction": "desc"}], limit=1
    )
    (worst,) = anomalies(store, limit=1)["worst"]
    assert row["partner_inference_id"] == worst["partner_inference_id"]
    assert row["anomaly_score"] == worst["anomaly_score"]
    assert row["anomaly_attributes"] == worst["attributes"]
    beyond = asked(
        select=[{"function": "count", "alias": "n"}],
        filter=[{"property": "anomaly_percentile", "comparator": "gte", "value": 99}],
    )
    assert beyond == [{"n": anomalies(store)["beyond"]}]
    one = store.http.get(f"{INFERENCES}/query/{worst['partner_inference_id']}").json()["query_result"][0]
    assert one["anomaly_score"] == worst["anomaly_score"]


def test_scores_are_not_among_the_columns_of_plain_inferences(store: Served) -> None:
    answer = store.http.post(f"{INFERENCES}/query", json={"select": [{"property": "anomaly_score"}]})
    assert answer.status_code == 400
    assert "enriched" in answer.json()["error"]


def test_expected_errors_are_summed_over_windows(store: Served) -> None:
    loss = next(room for room in store.cell.rooms if isinstance(room, LossKind))
    assert loss.reach(120)
    quality = loss.quality()
    assert quality is not None
    sums = loss.window(0, 1 << 30)
    assert sums.rows == 460
    assert sums.absolute / sums.rows == pytest.approx(quality.mae, rel=0.2)
    assert (sums.squared / sums.rows) ** 0.5 == pytest.approx(quality.mse**0.5, rel=0.2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-03-01T12:00:00"}, "zone"),
        ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "end"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "100000"}, "limit"),
        ({"batch_id": "b"}, "batch_id"),
        ({"until": "x"}, "until"),
    ],
)
def test_what_cannot_be_asked_is_named(store: Served, asked: dict, said: str) -> None:
    answer = store.http.get(f"{MODEL}/anomalies", params=asked)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_turned_off_nothing_is_scored_and_on_again_only_what_comes_later(tmp_path: Path) -> None:
    def wish(found: Served, *, on: bool) -> None:
        told = EnrichmentSettings(anomaly_detection=AnomalySettings(enabled=on))
        settings = found.cell.settings
        settings.current = settings.current.model_copy(update={"enrichments": told})

    with served(tmp_path) as found:
        found.closed_dataset("people", 200, seed=5)
        train(found, "anomaly")
        first = entry(found, "anomaly").artefact_hash
        sent(found, 10, 0)
        until(lambda: anomalies(found)["scored"] == 10)
        wish(found, on=False)
        assert entry(found, "anomaly").state == "Disabled"
        sent(found, 10, 10)
        # Who listens hears of a commit a moment after it: whatever is told of after the switch is scored.
        scorer = next(room for room in found.cell.rooms if isinstance(room, AnomalyKind))._scorer
        until(lambda: scorer is not None and scorer.table.rows == 10 and scorer._passed > scorer.scored)
        wish(found, on=True)
        train(found, "anomaly")
        assert entry(found, "anomaly").artefact_hash == first
        sent(found, 10, 20)
        until(lambda: anomalies(found)["scored"] == 20)
        ids = {row["partner_inference_id"] for row in anomalies(found, limit=100)["worst"]}
    assert ids == {f"r{i}" for i in [*range(10), *range(20, 30)]}


def rooms_of(identity: object, folder: Path) -> tuple[Rooms, Cell]:
    import census_like

    from modelwarden_server.settings import SettingsHolder

    cell = Cell(identity, SettingsHolder(census_like.settings(), KEY), folder)  # type: ignore[arg-type]
    return furnish(cell), cell


@pytest.mark.parametrize(
    ("change", "said"),
    [({"input_type": InputType.TIME_SERIES}, "series"), ({"input_type": InputType.IMAGE}, "images")],
)
def test_models_whose_rows_cannot_be_scored_say_why(tmp_path: Path, change: dict, said: str) -> None:
    _, cell = rooms_of(IDENTITY.model_copy(update=change), tmp_path)
    kind = next(room for room in cell.rooms if isinstance(room, AnomalyKind))
    wish = kind.wanted(None)  # type: ignore[arg-type]
    assert wish.reason == "NotForThisModel"
    assert said in wish.message


@pytest.mark.parametrize(
    ("other", "said"), [("none", "no attribute 'none'"), ("remark", "'remark' is no number")]
)
def test_an_artefact_that_encodes_what_the_model_has_not_is_refused(
    tmp_path: Path, other: str, said: str
) -> None:
    _, cell = rooms_of(IDENTITY, tmp_path)
    kind = next(room for room in cell.rooms if isinstance(room, AnomalyKind))
    good, told = model(), InstalledTraining("h", {}, "a" * 64, datetime(2026, 1, 1, tzinfo=UTC))
    kind.check(Artefact("anomaly", good.manifest(), good.arrays()), told)
    manifest = good.manifest()
    first, *rest = manifest["encoding"]
    assert first["coding"] == "number"
    spoiled = manifest | {"encoding": [first | {"name": other}, *rest]}
    with pytest.raises(ValueError, match=said):
        kind.check(Artefact("anomaly", spoiled, good.arrays()), told)
