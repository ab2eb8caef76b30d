"""What is searched for hotspots and when: windows, batches, the reference; what is waited for."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import census_like
import numpy as np
import pyarrow as pa
import pytest
from risky_town import identity

from modelwarden.resources.cell import CellIdentity, CellSettings, EnrichmentSettings, HotspotSettings
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.hotspots.outcomes import Metric
from modelwarden_server.analysis.hotspots.result import Result, written
from modelwarden_server.enrichments.hotspot_subjects import Subject, newest_window, step_of, subject_of
from modelwarden_server.enrichments.hotspots import Hotspots, HotspotSources
from modelwarden_server.enrichments.insights import Insight, Insights, Selection
from modelwarden_server.enrichments.kind import (
    Disabled,
    Facts,
    InstalledTraining,
    Pending,
    Wanted,
    input_hash,
)
from modelwarden_server.enrichments.windows import LabelledRows
from modelwarden_server.store.batches import Batch

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = 86_400


@pytest.mark.parametrize(
    ("window", "step"),
    [(7 * DAY, DAY), (28 * DAY, 7 * DAY), (DAY, DAY), (3600, 3600), (2 * DAY, DAY), (300, 300)],
)
def test_windows_end_at_whole_steps(window: int, step: int) -> None:
    assert step_of(window) == step


def test_a_window_is_searched_once_inferences_reach_beyond_it_by_the_delay_of_labels() -> None:
    newest = datetime(2026, 3, 10, 5, tzinfo=UTC)
    assert newest_window(newest, 7 * DAY, 0).end == datetime(2026, 3, 10, tzinfo=UTC)
    assert newest_window(newest, 7 * DAY, 3 * DAY).end == datetime(2026, 3, 7, tzinfo=UTC)
    assert newest_window(newest, 7 * DAY, 0).start == datetime(2026, 3, 3, tzinfo=UTC)


def test_subjects_are_read_back_from_inputs() -> None:
    window = newest_window(NOW, 7 * DAY, 0)
    for subject in (window, Subject("batch", "b/1"), Subject("reference", "people", "c" * 64)):
        assert subject_of(subject.inputs) == subject
    with pytest.raises(ValueError, match="not searched over"):
        subject_of({})


class World:
    """A kind with sources that a test decides on."""

    def __init__(self, folder: Path, model: CellIdentity | None = None) -> None:
        self.identity = model or identity()
        self.folder, self.labels = folder, 1000
        self.closed: list[Batch] = []
        self.settings = HotspotSettings(enabled=True)
        self.now, self.newest = NOW, datetime(2026, 3, 10, 5, tzinfo=UTC)
        self.delay: str | None = None
        self.told: list[str] = []
        self.kind = Hotspots()
        self.connect()

    def connect(self) -> None:
        """As at a start of the process."""
        nothing = LabelledRows(None, None)  # type: ignore[arg-type]
        self.kind = Hotspots()
        self.kind.connect(
            HotspotSources(
                self.folder, nothing, lambda most: self.closed[:most], lambda: self.labels,
                lambda: None, lambda searched: self.told.append(searched.subject.key),
            )
        )  # fmt: skip

    def facts(self, **more: Any) -> Facts:
        base: CellSettings = census_like.settings()
        settings = base.model_copy(
            update={
                "enrichments": EnrichmentSettings(hotspots=self.settings),
                "monitoring": base.monitoring.model_copy(update={"label_delay": self.delay}),
            }
        )
        return Facts(self.identity, settings, None, None, self.now, self.newest, **more)

    def wish(self) -> Any:
        return self.kind.wanted(self.facts())

    def inputs(self) -> dict[str, Any]:
        wish = self.wish()
        assert isinstance(wish, Wanted), wish
        return dict(wish.inputs)

    def answer(self, rows: int = 1000, labelled: int = 1000) -> None:
        """The training that is wanted comes to nothing."""
        self.answer_again(self.inputs(), rows, labelled)

    def answer_again(self, inputs: dict[str, Any], rows: int = 1000, labelled: int = 1000) -> None:
        """The training of these inputs is taken in use, as at a start of the process too."""
        result = Result(rows, labelled, rows // 2, (), {}, np.zeros((0, 0)), {}, {Metric.ACCURACY: "no"})
        told, arrays = written(result)
        name = input_hash("hotspots", 1, inputs)
        manifest = {"inputHash": name, "inputs": inputs, "result": told, "wholeRows": rows}
        training = InstalledTraining(name, inputs, "a" * 64, self.now)
        artefact = Artefact("hotspots", manifest, arrays)
        self.kind.check(artefact, training)
        self.kind.install(artefact, training)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_same_is_wanted_until_it_is_answered_also_after_a_restart(world: World) -> None:
    first = world.inputs()
    assert (first["start"], first["end"]) == ("2026-03-03T00:00:00Z", "2026-03-10T00:00:00Z")
    world.newest += timedelta(days=2)
    world.labels += 500
    world.now += timedelta(minutes=30)
    assert world.inputs() == first
    world.connect()
    assert world.inputs() == first
    world.answer()
    assert world.told == [f"window:{first['start']}/{first['end']}"]
    following = world.inputs()
    assert following["end"] == "2026-03-12T00:00:00Z"
    assert following["previous"] == first["name"]


def test_a_search_that_never_ends_is_overtaken_after_an_hour(world: World) -> None:
    first = world.inputs()
    world.now += timedelta(hours=2)
    assert world.inputs() == first
    world.newest += timedelta(days=1)
    assert world.inputs()["end"] == "2026-03-11T00:00:00Z"


def test_what_is_answered_stays_wanted_until_there_is_something_new(world: World) -> None:
    first = world.inputs()
    world.answer()
    world.newest += timedelta(hours=10)
    assert world.inputs() == first
    world.labels += 400
    assert world.inputs() == first, "all of its rows had labels"


def test_results_survive_a_restart_and_nobody_is_told_again(world: World) -> None:
    inputs = world.inputs()
    world.answer()
    world.told.clear()
    world.connect()
    world.answer_again(inputs)
    assert world.kind.results is not None
    assert [one.subject.key for one in world.kind.results.newest_first()] == [inputs["name"]]
    assert (world.told, world.inputs()) == ([], inputs)


def test_a_window_with_too_few_labels_waits_and_is_searched_again(world: World) -> None:
    first = world.inputs()
    world.answer(rows=1000, labelled=150)
    wish = world.wish()
    assert isinstance(wish, Pending)
    assert "400 labelled inferences in the window from 2026-03-03" in wish.missing[0]
    world.labels += 249
    assert isinstance(world.wish(), Pending)
    world.labels += 1
    again = world.inputs()
    assert (again["end"], again["attempt"]) == (first["end"], 2)
    world.answer(rows=1000, labelled=400)
    assert world.inputs() == again
    world.labels += 200
    assert world.inputs()["attempt"] == 3


def test_closed_batches_are_searched_the_oldest_first(tmp_path: Path) -> None:
    world = World(tmp_path, identity("batched", isBatch=True))
    assert world.wish() == Pending(("a closed batch",))
    world.closed = [Batch(name, 10, NOW, NOW) for name in ("c", "b", "a")]
    searched = []
    for _ in range(3):
        searched.append(world.inputs()["batch"])
        world.answer()
    assert searched == ["a", "b", "c"]
    assert world.inputs()["batch"] == "c"
    world.closed = [Batch("d", 10, NOW, NOW), *world.closed]
    assert world.inputs()["batch"] == "d"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"settings": HotspotSettings()}, "TurnedOff"),
        ({"identity": identity().model_copy(update={"input_type": "NLP"})}, "NotForThisModel"),
        ({"identity": identity().model_copy(update={"output_type": "RANKED_LIST"})}, "NotForThisModel"),
        ({"identity": identity().model_copy(update={"attributes": ()})}, "NotForThisModel"),
    ],
)
def test_what_cannot_be_searched_is_disabled_and_says_why(
    world: World, change: dict[str, Any], reason: str
) -> None:
    for name, value in change.items():
        setattr(world, name, value)
    wish = world.wish()
    assert isinstance(wish, Disabled)
    assert wish.reason == reason


def test_without_labels_or_inferences_it_says_what_it_waits_for(world: World) -> None:
    world.labels = 0
    assert world.wish() == Pending(("labels",))
    world.newest = None  # type: ignore[assignment]
    assert world.wish() == Pending(("inferences", "labels"))


def test_turned_off_everything_but_insights_is_forgotten(world: World) -> None:
    world.answer()
    world.kind.uninstall()
    world.connect()
    assert world.kind.results is not None
    assert world.kind.results.newest_first() == []


class MemoryTable:
    """A table of one parquet file."""

    def __init__(self, folder: Path, rows: pa.Table) -> None:
        import pyarrow.parquet as pq

        folder.mkdir(parents=True)
        self.folder, self.schema = folder, rows.schema
        half = rows.num_rows // 2
        names = ("a.parquet", "b.parquet")
        for name, part in zip(names, (rows.slice(0, half), rows.slice(half)), strict=True):
            pq.write_table(part, folder / name, row_group_size=1000)
        self.files: Sequence[Any] = [type("File", (), {"name": name}) for name in names]


INSTANT = pa.timestamp("us", "UTC")


def tables(folder: Path, rows: int) -> LabelledRows:
    """Rows a second apart in two batches; every second has a label, every fourth a later one too."""
    at = pa.array(np.arange(rows) * 1_000_000).cast(INSTANT)
    ids = [f"i{n}" for n in range(rows)]
    inferences = pa.table(
        {
            "partner_inference_id": ids, "inference_timestamp": at, "received_timestamp": at,
            "batch_id": ["x" if n % 3 else "y" for n in range(rows)], "age": pa.array(np.arange(rows)),
        }
    )  # fmt: skip
    first, later = list(range(0, rows, 2)), list(range(0, rows, 4))
    # The later ones stand before the first ones in the table: arrival decides.
    truth = pa.table(
        {
            "partner_inference_id": [ids[n] for n in [*later, *first]] + ["nobody"],
            "ground_truth_timestamp": pa.nulls(len(first) + len(later) + 1, INSTANT),
            "received_timestamp": pa.array(
                [2_000_000_000] * len(later) + [1_000_000_000] * len(first) + [5]
            ).cast(INSTANT),
            "y": pa.array([2] * len(later) + [1] * len(first) + [7]),
        }
    )
    return LabelledRows(MemoryTable(folder / "i", inferences), MemoryTable(folder / "t", truth))


def read(rows: LabelledRows, columns: Sequence[str] = (), **bounds: Any) -> pa.Table:
    from modelwarden_server.enrichments.windows import Bounds

    until = bounds.pop("until", datetime(2000, 1, 1, tzinfo=UTC))
    source = rows.source(Bounds(until, bounds.pop("most", 10_000), **bounds), columns)
    return pa.Table.from_batches(list(source.batches), source.schema)


def test_rows_come_with_their_newest_label_by_arrival(tmp_path: Path) -> None:
    found = read(tables(tmp_path, 3000), ["partner_inference_id", "y"])
    expected = [2 if n % 4 == 0 else 1 if n % 2 == 0 else None for n in range(3000)]
    assert found.column("y").to_pylist() == expected
    assert found.column("partner_inference_id").to_pylist() == [f"i{n}" for n in range(3000)]
    assert found.schema.metadata[b"rows"] == b"3000"


def test_only_the_window_or_the_batch_and_what_had_arrived_is_seen(tmp_path: Path) -> None:
    rows = tables(tmp_path, 3000)
    start, end = (datetime.fromtimestamp(second, UTC) for second in (600, 1200))
    assert read(rows, ["age"], start=start, end=end).column("age").to_pylist() == list(range(600, 1200))
    assert read(rows, ["age"], batch="y").column("age").to_pylist() == list(range(0, 3000, 3))
    early = read(rows, ["age", "y"], until=datetime.fromtimestamp(1500, UTC))
    assert early.num_rows == 1501
    assert set(early.column("y").to_pylist()) == {1, None}


def test_a_sample_is_the_same_rows_whatever_their_order(tmp_path: Path) -> None:
    found = read(tables(tmp_path, 3000), ["partner_inference_id", "y"], most=700)
    assert found.num_rows == 700
    assert found.schema.metadata[b"rows"] == b"3000"
    fewer = read(tables(tmp_path / "again", 3000), most=300)
    ids = set(found.column("partner_inference_id").to_pylist())
    assert set(fewer.column("partner_inference_id").to_pylist()) < ids
    assert sum(y is not None for y in found.column("y").to_pylist()) == pytest.approx(350, abs=60)


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column height"):
        read(tables(tmp_path, 30), ["height"])
    assert read(tables(tmp_path / "again", 30), batch="z").num_rows == 0


def insight(number: int, **more: Any) -> Insight:
    end = NOW + timedelta(days=number)
    facts: dict[str, Any] = {
        "id": f"i{number}", "subject": f"s{number}", "batch_id": None, "run_id": "r",
        "metric_type": "accuracyhotspot", "threshold_value": 0.5, "region": {"age": {"gt": 60.0}},
        "metric_value": 0.4, "timestamp": NOW, "window_start": end - timedelta(days=7), "window_end": end,
        "rule": "age > 60", "n": 100, "rest_value": 0.8, "p_adjusted": 0.001, "windows": 1,
    }  # fmt: skip
    return Insight(**facts | more)


def test_insights_keep_their_state_and_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "insights.json"
    insights = Insights(path)
    insights.load()
    insights.found("s1", [insight(1), replace_id("other", insight(1))])
    insights.found("s2", [insight(2)])
    assert insights.mark(Selection(id="i1"), "Acknowledged") == 1
    assert insights.mark(Selection(id="i1"), "Acknowledged") == 0
    insights.found("s1", [insight(1, metric_value=0.3)])
    again = Insights(path)
    again.load()
    assert [(one.id, one.status, one.metric_value) for one in again.chosen(Selection())] == [
        ("i2", "New", 0.4),
        ("i1", "Acknowledged", 0.3),
    ]
    insights.found("s1", [])
    assert [one.id for one in insights.chosen(Selection())] == ["i2", "i1"], "somebody took note of it"
    assert [group["count"] for group in insights.groups(Selection())] == [1, 1]
    path.write_bytes(b"{")
    again.load()
    assert (tmp_path / "kept" / "insights.damaged").exists()


def replace_id(name: str, one: Insight) -> Insight:
    import msgspec

    return msgspec.structs.replace(one, id=name)


def test_facts_with_a_reference_are_searched_first(world: World) -> None:
    from modelwarden_server.store.datasets import Dataset

    dataset = Dataset("people", "closed", NOW, content_hash="c" * 64, records=500)
    wish = world.kind.wanted(replace(world.facts(), dataset=dataset))
    assert isinstance(wish, Wanted)
    assert (wish.inputs["over"], wish.inputs["reference"]) == ("reference", "c" * 64)
