"""Reference data closed through the API, without a ReferenceDataset, get their profile all the same."""

import base64
import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from model_worlds import INSTALL, NOW, report, settled

from modelwarden.errors import Conflict, Transient
from modelwarden.reconcile.collaborators import Collaborators, Rhythm
from modelwarden.reconcile.monitoredmodel.undeclared import profile_undeclared
from modelwarden.reconcile.ports import Key, Kind, Manifest
from modelwarden.resources.keys import verify_job_key

HASH = "ab" * 32


class Objects:
    """As much of a cluster as is asked here: objects by kind and key."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, Key], Manifest] = {}
        self.refuse: Exception | None = None

    async def get(self, kind: Kind, key: Key) -> Manifest | None:
        return self.held.get((kind.kind, key))

    async def create(self, manifest: Manifest) -> Manifest:
        if self.refuse is not None:
            raise self.refuse
        meta = manifest["metadata"]
        made = copy.deepcopy(manifest)
        made["metadata"]["uid"] = f"uid of {manifest['kind']}"
        self.held[manifest["kind"], Key(meta["namespace"], meta["name"])] = made
        return made


def world(state: str = "closed") -> Any:
    entry = {"name": "default", "state": state, "records": 5, "created_at": NOW, "content_hash": HASH}
    return settled(report(reference=[entry], active_reference=None))[0]


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def given(objects: Objects) -> Collaborators:
    def endpoint(key: Key) -> str:
        return f"http://{key.name}.{key.namespace}.svc:8080"

    cluster: Any = objects
    cells: Any = None
    return Collaborators(cluster, cells, INSTALL, Rhythm(10, 60, 600), endpoint, lambda: datetime.now(UTC))


async def test_a_closed_dataset_without_an_object_gets_one_job_with_its_key(
    given: Collaborators, objects: Objects
) -> None:
    assert await profile_undeclared(given, world()) == ()
    assert await profile_undeclared(given, world()) == ()
    kinds = sorted(kind for kind, _ in objects.held)
    assert kinds == ["Job", "Secret"]
    job = objects.held["Job", Key("shop", f"census-ref-{HASH[:8]}")]
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("MonitoredModel", "census", "uid-1")
    assert "--dataset=default" in job["spec"]["template"]["spec"]["containers"][0]["args"]


async def test_its_events_wake_the_model(given: Collaborators, objects: Objects) -> None:
    await profile_undeclared(given, world())
    labels = objects.held["Job", Key("shop", f"census-ref-{HASH[:8]}")]["metadata"]["labels"]
    assert labels["modelwarden.dev/model"] == "census"
    assert "modelwarden.dev/reference-dataset" not in labels


async def test_its_key_opens_these_contents_alone(given: Collaborators, objects: Objects) -> None:
    await profile_undeclared(given, world())
    secret = objects.held["Secret", Key("shop", f"census-ref-{HASH[:8]}")]
    presented = base64.b64decode(secret["data"]["key"]).decode()
    claim = verify_job_key(INSTALL.key_of("shop", "census", 0), presented)
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("profile", HASH)


@pytest.mark.parametrize("state", ["open", "profiled", "failed"])
async def test_nothing_is_made_for_a_dataset_that_needs_no_profile(
    given: Collaborators, objects: Objects, state: str
) -> None:
    await profile_undeclared(given, world(state))
    assert objects.held == {}


async def test_a_dataset_with_an_object_is_left_to_its_own_reconcile(
    given: Collaborators, objects: Objects
) -> None:
    objects.held["ReferenceDataset", Key("shop", "default")] = {"metadata": {}}
    await profile_undeclared(given, world())
    assert not any(kind == "Job" for kind, _ in objects.held)


async def test_a_job_made_meanwhile_is_no_trouble_and_an_outage_is(
    given: Collaborators, objects: Objects
) -> None:
    objects.refuse = Conflict("made meanwhile")
    assert await profile_undeclared(given, world()) == ()
    objects.refuse = Transient("ApiServerError", "503")
    (trouble,) = await profile_undeclared(given, world())
    assert isinstance(trouble, Transient)
