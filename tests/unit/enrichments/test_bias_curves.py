"""What is waited for, and the doors of curves and thresholds, over a result that was really trained."""

import asyncio
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import census_like
import httpx
import pytest
from biased_reference import ATTRIBUTES, identity, reference, trained
from starlette.applications import Starlette

from modelwarden.resources.cell import CellSettings, EnrichmentSettings, MitigationSettings
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments.bias import BiasKind
from modelwarden_server.enrichments.curve_request import attribute_id
from modelwarden_server.enrichments.kind import Disabled, Facts, InstalledTraining, Pending, Wanted
from modelwarden_server.store.datasets import Dataset
from modelwarden_server.web import Refusal, on_refusal

NOW = datetime(2026, 3, 1, tzinfo=UTC)
IDENTITY = identity()
PATH = f"/api/v3/models/{IDENTITY.model_id}/enrichments/bias_mitigation"


def settings(**mitigation: Any) -> CellSettings:
    made = MitigationSettings(enabled=True).model_copy(update=mitigation)
    return census_like.settings().model_copy(update={"enrichments": EnrichmentSettings(bias_mitigation=made)})


def profile() -> ReferenceProfile:
    table = reference(200)
    columns = columns_of(IDENTITY.attributes)
    return ReferenceProfile(
        "c" * 64, 200, tuple(profile_column(c, lambda c=c: table.column(c.name).chunks) for c in columns)
    )


CLOSED = Dataset("train", "profiled", NOW, content_hash="c" * 64, profile_hash="d" * 64, records=200)
FACTS = Facts(IDENTITY, settings(), CLOSED, profile(), NOW)


def kind() -> BiasKind:
    return BiasKind(cast("Cell", SimpleNamespace(identity=IDENTITY)))


def unlabelled() -> ReferenceProfile:
    known = profile()
    y = known.column("y")
    assert y is not None
    counts = [0] * y.cells.size
    counts[y.cells.missing[0]] = 200
    columns = tuple(replace(c, counts=tuple(counts)) if c is y else c for c in known.columns)
    return replace(known, columns=columns)


def unmonitored() -> Any:
    return identity([{k: v for k, v in a.items() if k != "monitorForBias"} for a in ATTRIBUTES])


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        (replace(FACTS, dataset=None, profile=None), ("a closed reference dataset",)),
        (replace(FACTS, profile=None), ("the profile of the reference dataset",)),
        (replace(FACTS, profile=unlabelled()), ("labels (y) in the reference dataset",)),
        (replace(FACTS, identity=unmonitored()), ("an attribute with monitorForBias",)),
        (replace(FACTS, settings=settings(attributes=("town",))), ("monitorForBias on the attribute town",)),
        (
            replace(FACTS, identity=unmonitored(), dataset=None, profile=None),
            ("an attribute with monitorForBias", "a closed reference dataset"),
        ),
    ],
)
def test_it_waits_for_what_is_missing_and_names_it(facts: Facts, missing: tuple[str, ...]) -> None:
    assert kind().wanted(facts) == Pending(missing)


def test_it_is_off_unless_somebody_turns_it_on() -> None:
    found = kind().wanted(replace(FACTS, settings=settings(enabled=False)))
    assert isinstance(found, Disabled)
    assert found.reason == "TurnedOff"


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_not_for_a_regression_on_or_off(enabled: bool) -> None:
    attributes = [a for a in ATTRIBUTES if a["name"] not in ("p", "y")]
    attributes += [
        census_like.attribute("p", "FLOAT", "PREDICTED_VALUE", attributeLink="y"),
        census_like.attribute("y", "FLOAT", "GROUND_TRUTH", attributeLink="p"),
    ]
    regression = identity(attributes, outputType="REGRESSION")
    found = kind().wanted(replace(FACTS, identity=regression, settings=settings(enabled=enabled)))
    assert isinstance(found, Disabled)
    assert found.reason == "NotForThisModel"


def test_what_is_wanted_names_data_groups_and_settings_and_no_value_of_a_row() -> None:
    found = kind().wanted(FACTS)
    assert isinstance(found, Wanted)
    assert found.inputs["reference"] == "c" * 64
    assert found.inputs["attributes"] == [
        {"name": "age", "values": [], "ranges": [[None, 30.0], [30.0, 60.0], [60.0, None]]},
        {"name": "sex", "values": [], "ranges": []},
    ]
    one = kind().wanted(
        replace(FACTS, settings=settings(attributes=("sex",), constraints=("equalized_odds",)))
    )
    assert isinstance(one, Wanted)
    assert [a["name"] for a in one.inputs["attributes"]] == ["sex"]
    assert one.inputs["constraints"] == ["equalized_odds"]


@pytest.fixture(scope="module")
def installed() -> BiasKind:
    made, found = trained(reference()), kind()
    training = InstalledTraining(made.manifest["inputHash"], made.manifest["inputs"], "a" * 64, NOW)
    found.check(made, training)
    found.install(made, training)
    return found


@dataclass(frozen=True)
class Client:
    """The doors of a kind, without a network."""

    of: BiasKind

    def get(self, url: str) -> httpx.Response:
        app = Starlette(routes=list(self.of.routes()), exception_handlers={Refusal: on_refusal})

        async def got() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://cell") as client:
                return await client.get(url)

        return asyncio.run(got())


@pytest.fixture
def client(installed: BiasKind) -> Client:
    return Client(installed)


def test_curves_have_the_documented_shape(client: Client) -> None:
    sex = attribute_id(IDENTITY.model_id, "sex")
    answer = client.get(f"{PATH}/curves?attribute_id={sex}&constraint=demographic_parity").json()
    assert (answer["total_count"], answer["total_pages"], answer["page"]) == (2, 1, 1)
    first = answer["data"][0]
    assert set(first) == {
        "id", "model_id", "attribute_id", "attribute_name", "categorical_value", "constraint", "x_label",
        "y_label", "optimization_index", "data_points",
    }  # fmt: skip
    assert {curve["categorical_value"] for curve in answer["data"]} == {"f", "m"}
    assert len({curve["optimization_index"] for curve in answer["data"]}) == 1
    assert [point["x"] for point in first["data_points"]] == [k / 1000 for k in range(1001)]
    assert first["data_points"][0]["threshold"] == 2.0
    assert all(0 <= point["y"] <= 1 for point in first["data_points"])


def test_groups_of_a_number_have_bounds_as_texts_and_open_ends_left_out(client: Client) -> None:
    curves = client.get(f"{PATH}/curves?attribute_id=age&constraint=equalized_odds").json()["data"]
    bounds = [{k: v for k, v in curve.items() if k.startswith(("cont", "cat"))} for curve in curves]
    assert bounds == [
        {"continuous_end": "30"},
        {"continuous_start": "30", "continuous_end": "60"},
        {"continuous_start": "60"},
    ]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("", 15),
        ("?constraint=equal_opportunity", 5),
        ("?constraint[]=equal_opportunity&constraint[]=equalized_odds", 10),
        ("?attribute_value=f", 3),
        ("?attribute_value[]=f&attribute_value[]=m", 6),
        ("?continuous_value=30", 3),
        ("?attribute_id=age&continuous_value=30.5&continuous_value=7&constraint=equalized_odds", 2),
        ("?attribute_id=sex&continuous_value=30", 0),
        (f"?attribute_value={quote('f%27 OR 1')}", 0),
    ],
)
def test_filters_leave_the_curves_that_they_name(client: Client, query: str, number: int) -> None:
    answer = client.get(f"{PATH}/curves{query}").json()
    assert answer["total_count"] == number
    assert len(answer["data"] or []) == number
    assert answer["data"] != []  # the documented client takes null for none and stumbles over a list


def test_pages_hold_every_curve_once(client: Client) -> None:
    seen = []
    for page in range(1, 5):
        answer = client.get(f"{PATH}/curves?page={page}&page_size=4").json()
        assert answer["total_pages"] == 4
        seen += [curve["id"] for curve in answer["data"]]
    assert len(seen) == len(set(seen)) == 15
    assert client.get(f"{PATH}/curves?page=5&page_size=4").json()["data"] is None


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?attribute_id=town", "attribute_id"),
        ("?attribute_id=None", "attribute_id"),
        ("?constraint=luck", "constraint"),
        ("?continuous_value=old", "continuous_value"),
        ("?continuous_value=nan", "continuous_value"),
        ("?page=0", "page"),
        ("?page=x", "page"),
        ("?page_size=101", "page_size"),
    ],
)
@pytest.mark.parametrize("door", ["curves", "thresholds"])
def test_a_question_that_makes_no_sense_is_refused_by_field(
    client: Client, door: str, query: str, named: str
) -> None:
    answer = client.get(f"{PATH}/{door}{query}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{named}:")


def test_the_export_says_what_it_is_made_of_and_warns(client: Client) -> None:
    told = client.get(f"{PATH}/thresholds?constraint=demographic_parity").json()
    assert told["artefact_hash"] == "a" * 64
    assert told["reference"]["content_hash"] == "c" * 64
    assert told["reference"]["window"][0].startswith("2026-01-01T00:00:00")
    assert "never applies" in told["note"]
    assert [one["attribute"] for one in told["recommended"]] == ["age", "sex"]
    sex = told["recommended"][1]
    assert (
        sex["judged"]["gap_after"]["difference"]["value"] < sex["judged"]["gap_before"]["difference"]["value"]
    )
    women, men = sex["groups"]
    assert (women["group"], men["group"]) == ("m", "f") or women["threshold"] < men["threshold"]


def test_thresholds_of_ranges_come_as_conditions_of_a_query(client: Client) -> None:
    told = client.get(f"{PATH}/thresholds?attribute_id=age&constraint=demographic_parity").json()
    parameters = told["recommended"][0]["query_function"]["parameters"]
    assert parameters["predicted_property"] == "p"
    assert [one["conditions"] for one in parameters["thresholds"]] == [
        [{"property": "age", "comparator": "lte", "value": 30.0}],
        [
            {"property": "age", "comparator": "gt", "value": 30.0},
            {"property": "age", "comparator": "lte", "value": 60.0},
        ],
        [{"property": "age", "comparator": "gt", "value": 60.0}],
    ]
    assert all(math.isfinite(one["threshold"]) for one in parameters["thresholds"])


def test_before_and_after_there_are_no_curves_and_no_thresholds() -> None:
    made, found = trained(reference(1500)), kind()
    training = InstalledTraining("1" * 64, made.manifest["inputs"], "a" * 64, NOW)
    client = Client(found)
    for _ in range(2):
        assert client.get(f"{PATH}/curves").json()["data"] is None
        assert client.get(f"{PATH}/thresholds").status_code == 404
        found.install(made, training)
        assert client.get(f"{PATH}/curves").json()["data"] is not None
        found.uninstall()


def test_a_result_of_another_models_attributes_is_refused() -> None:
    made = trained(reference(1500))
    other = BiasKind(cast("Cell", SimpleNamespace(identity=census_like.identity())))
    with pytest.raises(ValueError, match="no attribute 'sex'"):
        other.check(made, InstalledTraining("1" * 64, {}, "a" * 64, NOW))


def test_another_models_curves_are_not_here(client: Client) -> None:
    assert client.get(PATH.replace(IDENTITY.model_id, "x") + "/curves").status_code == 404
