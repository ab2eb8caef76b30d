"""What is decided of trainings is carried out once, on what is live, and a failure is told."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from model_worlds import INSTALL
from training_worlds import OTHER, WANTED, made, said, world

from modelwarden.errors import Conflict, Transient
from modelwarden.reconcile.collaborators import Collaborators, Rhythm
from modelwarden.reconcile.monitoredmodel.blueprint import place_of
from modelwarden.reconcile.monitoredmodel.training import train
from modelwarden.reconcile.ports import Key, Kind, Manifest

NAME = f"census-train-anomaly-{WANTED[:8]}"


class Objects:
    """As much of a cluster as is asked here: objects by kind and name; what was deleted, by uid."""

    def __init__(self, *held: Manifest) -> None:
        self.held = {(one["kind"], one["metadata"]["name"]): copy.deepcopy(one) for one in held}
        self.deleted: list[str] = []
        self.refuse: dict[str, Exception] = {}

    async def get(self, kind: Kind, key: Key) -> Manifest | None:
        return self.held.get((kind.kind, key.name))

    async def create(self, manifest: Manifest) -> Manifest:
        if error := self.refuse.get("create"):
            raise error
        name = manifest["kind"], manifest["metadata"]["name"]
        self.held[name] = copy.deepcopy(manifest)
        self.held[name]["metadata"]["uid"] = f"new {manifest['kind']}"
        return self.held[name]

    async def delete(self, live: Manifest) -> None:
        if error := self.refuse.get("delete"):
            raise error
        self.deleted.append(live["metadata"]["uid"])
        del self.held[live["kind"], live["metadata"]["name"]]

    def names(self) -> set[tuple[str, str]]:
        return set(self.held)


def given(objects: Any) -> Collaborators:
    def endpoint(key: Key) -> str:
        return f"http://{key.name}.{key.namespace}.svc:8080"

    cells: Any = None
    now = datetime(2026, 11, 21, 23, tzinfo=UTC)
    return Collaborators(objects, cells, INSTALL, Rhythm(10, 60, 600), endpoint, lambda: now)


async def test_what_is_due_gets_one_job_with_its_key() -> None:
    objects = Objects()
    for _ in range(2):
        assert await train(given(objects), world(said())) == ()
    assert objects.names() == {("Job", NAME), ("Secret", NAME)}
    assert objects.deleted == []


async def test_what_a_model_asks_for_its_trainings_is_in_the_job() -> None:
    objects = Objects()
    more = {"resources": {"limits": {"memory": "6Gi"}}}
    await train(given(objects), world(said(), training=more))
    container = objects.held["Job", NAME]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"memory": "6Gi"}


async def test_a_new_round_takes_the_old_job_away_and_makes_one_with_a_key_of_its_own() -> None:
    old = made("Failed", place=place_of(given(None), world().model))
    objects = Objects(old)
    assert await train(given(objects), world(said(), jobs=[old])) == ()
    assert objects.deleted == ["j"]
    assert objects.names() == {("Job", NAME), ("Secret", f"{NAME}-2")}


@pytest.mark.parametrize(
    "live",
    [made("Complete", input_hash=OTHER), made(input_hash=OTHER) | {"metadata": {"uid": "another"}}],
)
async def test_a_job_that_has_changed_since_it_was_seen_is_left_alone(live: Manifest) -> None:
    seen = made(input_hash=OTHER)
    live["metadata"] = seen["metadata"] | {"uid": live["metadata"]["uid"]}
    objects = Objects(live)
    assert await train(given(objects), world(said(due=False), jobs=[seen])) == ()
    assert objects.deleted == []


async def test_while_an_old_job_cannot_be_taken_away_no_key_is_made_for_its_successor() -> None:
    old = made("Failed")
    objects = Objects(old)
    objects.refuse["delete"] = Transient("ApiServerError", "503")
    (trouble,) = await train(given(objects), world(said(), jobs=[old]))
    assert isinstance(trouble, Transient)
    assert objects.names() == {("Job", NAME)}


async def test_a_job_whose_maker_was_killed_gets_its_key() -> None:
    waiting = made(has_run=False, place=place_of(given(None), world().model))
    objects = Objects(waiting)
    assert await train(given(objects), world(said(), jobs=[waiting])) == ()
    assert objects.names() == {("Job", NAME), ("Secret", NAME)}
    assert objects.deleted == []


async def test_a_key_of_a_job_of_before_is_waited_for() -> None:
    objects = Objects(made("Complete"))
    await train(given(objects), world(said()))
    stale = objects.held["Secret", NAME]
    objects = Objects(stale)
    (trouble,) = await train(given(objects), world(said()))
    assert (type(trouble), trouble.reason) == (Transient, "PreviousChildren")
    assert objects.names() == {("Secret", NAME)}


async def test_a_job_made_meanwhile_is_no_trouble_and_an_outage_is() -> None:
    objects = Objects()
    objects.refuse["create"] = Conflict("made meanwhile")
    assert await train(given(objects), world(said())) == ()
    objects.refuse["create"] = Transient("ApiServerError", "503")
    (trouble,) = await train(given(objects), world(said()))
    assert isinstance(trouble, Transient)
