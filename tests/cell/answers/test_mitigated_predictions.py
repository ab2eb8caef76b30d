"""`biasMitigatedPredictions` against numpy, with names and values that try to be SQL, and what is refused."""

from typing import Any

import msgspec
import numpy as np
import pytest
from biased_reference import ATTRIBUTES, identity, reference, trained
from sql_rooms import SqlRooms, call

from modelwarden_server.analysis.mitigation.result import read
from modelwarden_server.enrichments.curve_request import Asked
from modelwarden_server.enrichments.curves import InUse, exported
from modelwarden_server.enrichments.kind import InstalledTraining
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.engine import Engine

HOSTILE = ["o'hara", '"', "'); DROP TABLE rows; --", "$1", "c0", "%", "", "NULL", "{over}", "é\n\\"]


@pytest.fixture(scope="module")
def data() -> list[dict[str, Any]]:
    rng = np.random.default_rng(8)
    sexes = ["f", "m", None, *HOSTILE]
    return [
        {
            "age": None if i % 9 == 0 else int(rng.integers(18, 90)),
            "sex": sexes[int(rng.integers(0, len(sexes)))],
            "town": "north",
            "p": None if i % 23 == 0 else float(np.round(rng.random(), 3)),
        }
        for i in range(1500)
    ]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory, engine: Engine, data: list[dict[str, Any]]) -> SqlRooms:
    made = SqlRooms.of(tmp_path_factory.mktemp("mitigated"), engine, ATTRIBUTES)
    made.store(data)
    return made


def group(threshold: Any, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"conditions": list(conditions), "threshold": threshold}


def on(name: str, value: Any = None, comparator: str = "eq") -> dict[str, Any]:
    return {"property": name, "comparator": comparator} | ({} if value is None else {"value": value})


def asked(rooms: SqlRooms, thresholds: Any, **more: Any) -> list[Any]:
    rows = rooms.ask(
        {"property": "p"}, call("biasMitigatedPredictions", "y", thresholds=thresholds, **more), limit=5000
    )
    return [row["y"] for row in rows]


@pytest.mark.parametrize("value", ["f", *HOSTILE])
def test_a_groups_value_is_data_whatever_it_looks_like(
    rooms: SqlRooms, data: list[dict[str, Any]], value: str
) -> None:
    found = asked(rooms, [group(0.4, on("sex", value))])
    expected = [None if row["sex"] != value or row["p"] is None else int(row["p"] >= 0.4) for row in data]
    assert found == expected
    assert {0, 1} <= set(found)


def test_ranges_values_and_missing_values_make_groups_and_the_first_that_holds_counts(
    rooms: SqlRooms, data: list[dict[str, Any]]
) -> None:
    thresholds = [
        group(0.7, on("age", 30, "lte"), on("sex", "f")),
        group(0.2, on("age", 30, "gt"), on("age", 60, "lte")),
        group(2.0, on("age", comparator="IsNull")),
        group(0.5, on("sex", ["f", "m"], "in")),
    ]

    def threshold(row: dict[str, Any]) -> float | None:
        age, sex = row["age"], row["sex"]
        if age is not None and age <= 30 and sex == "f":
            return 0.7
        if age is not None and 30 < age <= 60:
            return 0.2
        if age is None:
            return 2.0
        return 0.5 if sex in ("f", "m") else None

    expected = [
        None if (limit := threshold(row)) is None or row["p"] is None else int(row["p"] >= limit)
        for row in data
    ]
    assert asked(rooms, thresholds) == expected


def test_a_group_without_conditions_takes_whoever_is_left(
    rooms: SqlRooms, data: list[dict[str, Any]]
) -> None:
    found = asked(rooms, [group(0.9, on("sex", "f")), group(0.1)], predicted_property="p")
    assert found == [
        None if row["p"] is None else int(row["p"] >= (0.9 if row["sex"] == "f" else 0.1)) for row in data
    ]


def test_decisions_can_be_counted_by_group(rooms: SqlRooms, data: list[dict[str, Any]]) -> None:
    thresholds = [group(0.3, on("sex", "f")), group(0.6, on("sex", "m"))]
    decided = call("biasMitigatedPredictions", "decided", thresholds=thresholds)
    rows = rooms.ask(
        call("avg", "rate", property={"alias_ref": "decided"}),
        {"property": "sex"},
        subquery={"select": [decided, {"property": "sex"}], "filter": [on("sex", ["f", "m"], "in")]},
        group_by=[{"property": "sex"}],
    )
    for row in rows:
        limit = {"f": 0.3, "m": 0.6}[row["sex"]]
        mine = [r["p"] >= limit for r in data if r["sex"] == row["sex"] and r["p"] is not None]
        assert row["rate"] == pytest.approx(np.mean(mine))


def test_exported_thresholds_are_an_argument_as_they_stand(
    rooms: SqlRooms, data: list[dict[str, Any]]
) -> None:
    made = trained(reference(2000))
    use = InUse(
        read(made.manifest, made.arrays), InstalledTraining("1", made.manifest["inputs"], "2", _now())
    )
    told = msgspec.json.decode(msgspec.json.encode(exported(identity(), use, Asked(attribute="age"))))
    for one in told["recommended"]:
        limits = [entry["threshold"] for entry in one["groups"]]
        found = asked(rooms, **one["query_function"]["parameters"])
        for row, decided in zip(data, found, strict=True):
            if row["age"] is None or row["p"] is None:
                assert decided is None
            else:
                place = 0 if row["age"] <= 30 else 1 if row["age"] <= 60 else 2
                assert decided == int(row["p"] >= limits[place])


BAD: dict[str, tuple[Any, str]] = {
    "no list": ({"a": 1}, "thresholds"),
    "an empty list": ([], "thresholds"),
    "too many": ([group(0.5)] * 201, "thresholds"),
    "no threshold": ([{"conditions": []}], "thresholds[0]"),
    "a threshold that is no number": ([group("high")], "thresholds[0].threshold"),
    "a threshold that is true": ([group(0.5) | {"threshold": True}], "thresholds[0].threshold"),
    "a misspelt key": ([group(0.5) | {"thresholt": 0.4}], "thresholds[0]"),
    "a group that is no object": (["f"], "thresholds[0]"),
    "an unknown attribute": ([group(0.5, on('sex" OR 1=1 --', "f"))], "thresholds[0].conditions[0]"),
    "an unknown comparator": ([group(0.5, on("sex", "f", "=="))], "thresholds[0].conditions[0].comparator"),
    "a value of another type": ([group(0.5, on("age", "old"))], "thresholds[0].conditions[0]"),
    "conditions that are null": ([{"conditions": None, "threshold": 0.5}], "thresholds[0].conditions[0]"),
    "too many conditions": ([group(0.5, *[on("sex", "f")] * 21)], "thresholds[0]"),
}


@pytest.mark.parametrize(("thresholds", "named"), BAD.values(), ids=BAD.keys())
def test_thresholds_that_make_no_sense_are_refused_by_place(
    rooms: SqlRooms, thresholds: Any, named: str
) -> None:
    with pytest.raises(QueryError) as told:
        asked(rooms, thresholds)
    assert named in str(told.value).partition(": ")[0]


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 3, 1, tzinfo=UTC)
