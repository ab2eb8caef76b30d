"""Questions while pods still run what was wanted before: answered, and not kept for what is wanted now."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest
from explained_rows import BACKGROUND, CODE, NAMES
from query_rooms import people
from scripted_explainer import ScriptedExplainer
from store_process import KEY

from modelwarden_server.explanations.ask import Asker, Planned, Wish

NOW = Planned(CODE, BACKGROUND, "shap", 500)


@pytest.fixture(scope="module")
def explainer() -> Iterator[ScriptedExplainer]:
    """A pod that runs the code CODE."""
    with ScriptedExplainer().running() as started:
        yield started


@contextlib.contextmanager
def asker(explainer: ScriptedExplainer, planned: Planned | None) -> Iterator[Asker]:
    made = Asker(NAMES, lambda: explainer.url, lambda: KEY, lambda: planned)
    yield made
    made.close()


def row() -> pa.RecordBatch:
    one = people(1, seed=3).select(["age", "income", "town"])
    return one.add_column(0, "id", pa.array(["r"])).to_batches()[0]


@pytest.mark.parametrize(
    ("planned", "kept"),
    [
        (NOW, True),
        (replace(NOW, code_hash="d" * 64), False),
        (replace(NOW, background_hash="d" * 64), False),
        (None, True),
    ],
)
def test_an_answer_is_kept_if_it_is_of_the_code_and_the_reference_that_are_wanted(
    explainer: ScriptedExplainer, planned: Planned | None, kept: bool
) -> None:
    with asker(explainer, planned) as asking:
        first, again = asking.ask(row(), Wish()), asking.ask(row(), Wish())
    assert (first[1], again[1]) == (False, kept)
    assert again[0].rows.equals(first[0].rows)


def test_the_pod_is_told_the_algorithm_that_is_wanted_now(explainer: ScriptedExplainer) -> None:
    with asker(explainer, replace(NOW, algorithm="lime")) as asking:
        asking.ask(row(), Wish())
        asking.ask(row(), Wish("shap"))
    assert [asked[b"algorithm"] for asked in explainer.asked[-2:]] == [b"lime", b"shap"]
