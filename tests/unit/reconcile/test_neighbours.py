"""Who must look again when one of ours changes: only those whom it concerns, and only if they can see it."""

from typing import Any

from modelwarden.reconcile.neighbours import Neighbours
from modelwarden.reconcile.ports import DATASET, ENRICHMENT, MODEL, Key

CENSUS = (MODEL, Key("shop", "census"))


def model(generation: int = 1, **status: Any) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": "census", "uid": "m", "generation": generation}
    return {"metadata": meta, "status": status}


def dataset(name: str = "train", to: str = "census", uid: str = "d") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "generation": 1},
        "spec": {"modelRef": {"name": to}},
    }


def test_a_model_that_appears_concerns_the_datasets_that_wait_for_it() -> None:
    neighbours = Neighbours()
    neighbours.saw(DATASET, dataset("train"))
    neighbours.saw(ENRICHMENT, dataset("spots"))
    neighbours.saw(DATASET, dataset("other", to="else"))
    assert neighbours.saw(MODEL, model()) == (
        (ENRICHMENT, Key("shop", "spots")),
        (DATASET, Key("shop", "train")),
    )


def test_a_status_that_shows_nothing_new_to_others_concerns_nobody() -> None:
    neighbours = Neighbours()
    neighbours.saw(DATASET, dataset())
    ready = [{"type": "Ready", "status": "True"}]
    assert neighbours.saw(MODEL, model(conditions=ready, rows={"acknowledged": 1}))
    assert neighbours.saw(MODEL, model(conditions=ready, rows={"acknowledged": 2})) == ()
    assert neighbours.saw(MODEL, model(conditions=[{"type": "Ready", "status": "False"}]))
    assert neighbours.saw(MODEL, model(generation=2, conditions=[{"type": "Ready", "status": "False"}]))


def test_a_dataset_concerns_its_model_when_it_comes_changes_and_goes() -> None:
    neighbours = Neighbours()
    assert neighbours.saw(DATASET, dataset()) == (CENSUS,)
    assert neighbours.saw(DATASET, dataset()) == ()
    assert neighbours.lost(DATASET, dataset()) == (CENSUS,)
    assert neighbours.saw(MODEL, model()) == ()


def test_an_enrichment_concerns_its_model_and_the_others_of_its_model() -> None:
    neighbours = Neighbours()
    neighbours.saw(DATASET, dataset("train"))
    neighbours.saw(ENRICHMENT, dataset("first"))
    neighbours.saw(ENRICHMENT, dataset("elsewhere", to="other"))
    assert neighbours.saw(ENRICHMENT, dataset("second")) == (CENSUS, (ENRICHMENT, Key("shop", "first")))
    assert neighbours.lost(ENRICHMENT, dataset("first")) == (CENSUS, (ENRICHMENT, Key("shop", "second")))


def test_what_a_model_says_of_its_trainings_concerns_its_enrichments() -> None:
    neighbours = Neighbours()
    neighbours.saw(ENRICHMENT, dataset("spots"))
    neighbours.saw(MODEL, model(enrichments=[{"kind": "hotspots", "state": "Pending"}]))
    assert neighbours.saw(MODEL, model(enrichments=[{"state": "Pending", "kind": "hotspots"}])) == ()
    changed = neighbours.saw(MODEL, model(enrichments=[{"kind": "hotspots", "state": "Ready"}]))
    assert changed == ((ENRICHMENT, Key("shop", "spots")),)


def test_a_namesake_that_points_elsewhere_concerns_both_models() -> None:
    neighbours = Neighbours()
    neighbours.saw(DATASET, dataset())
    concerned = neighbours.saw(DATASET, dataset(to="other", uid="d2"))
    assert concerned == (CENSUS, (MODEL, Key("shop", "other")))
    assert neighbours.saw(MODEL, model()) == ()


def test_nothing_is_kept_of_what_is_gone() -> None:
    neighbours = Neighbours()
    neighbours.saw(DATASET, dataset())
    neighbours.saw(MODEL, model())
    neighbours.lost(DATASET, dataset())
    neighbours.lost(MODEL, model())
    assert neighbours == Neighbours()
