"""The first weeks of the census story in a cell of its own: what it says of weeks in which nothing happened
is right by scikit-learn, and no alarm.
"""

import os
from pathlib import Path

import pytest

from examples.census import data, train
from examples.census.demo import names
from examples.census.story import cell, page, reading
from examples.census.story.chunks import chunks, shipped_auc
from examples.census.story.detectors import detectors
from examples.census.story.run import Replay

pytestmark = pytest.mark.faults
WEEKS = 9 if os.environ.get("MODELWARDEN_LONG") == "1" else 2


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> reading.Told:
    story = train.story(data.cache_folder())
    weeks = list(chunks(story))[:WEEKS]
    folder: Path = tmp_path_factory.mktemp("story")
    cell.write_yaml(folder)
    with cell.running(folder) as running:
        record = Replay(running, weeks).run(story)
    return reading.tell(story, weeks, record, shipped_auc(data.wheel(data.cache_folder())))


def test_the_labels_say_what_scikit_learn_says(told: reading.Told) -> None:
    for truth, said in zip(told.truth, told.said, strict=True):
        assert said.labels.auc == pytest.approx(truth.auc, abs=1e-3)
        assert said.labels.accuracy == pytest.approx(truth.accuracy, abs=1e-9)


def test_every_group_is_found_as_often_as_scikit_learn_says(told: reading.Told) -> None:
    for found, said in zip(told.found, told.said, strict=True):
        assert [of.attribute for of in said.groups] == list(data.PROTECTED)
        for of in said.groups:
            large = {group: share for group, share in of.found.items() if share is not None}
            assert len(large) >= 2
            assert large == pytest.approx({group: found[of.attribute][group] for group in large}, abs=1e-9)


def test_the_estimate_made_before_any_label_came_holds_the_truth(told: reading.Told) -> None:
    for truth, said in zip(told.truth, told.said, strict=True):
        assert said.estimate.withheld is None
        assert said.estimate.lower is not None
        assert said.estimate.upper is not None
        assert said.estimate.lower - 0.005 < truth.auc < said.estimate.upper + 0.005


def test_nothing_calls_a_person_where_nothing_happened(told: reading.Told) -> None:
    calling = [one for one in detectors(names(), data.PROTECTED) if one.calls]
    assert {one.name: one.alarms(told.said) for one in calling} == {one.name: [] for one in calling}


def test_the_page_is_written_from_it(told: reading.Told) -> None:
    text = page.page(told, names())
    assert f"of {WEEKS} chunks" in text
    assert "Nothing was missed, and there was no false alarm." in text
