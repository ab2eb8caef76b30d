"""Whether a model has a server, and what its cell is told of it."""

from typing import Any

import pytest
from model_factory import enrichment, monitored_model

from modelwarden.resources.cell import settings_of
from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.enrichment import parse as parse_enrichment
from modelwarden.resources.monitoredmodel import MonitoredModel, parse
from modelwarden.resources.packages import PackageIndex, index_over
from modelwarden.resources.server_settings import ServerWish, asset_hash, server_settings, server_wish
from modelwarden.resources.sources import Source

SERVING: dict[str, Any] = {"flow": [{"modelType": "SKLEARN", "file": "m.pkl"}], "files": {"upload": {}}}
WEB = {"http": {"url": "https://example.org/p.zip", "sha256": "0" * 64}}


def model(**spec: Any) -> MonitoredModel:
    return parse(monitored_model("shop", **spec))


def explained(enabled: bool = True, **config: Any) -> Enrichment:
    spec = {"type": "Explainability", "enabled": enabled, "explainability": config}
    return parse_enrichment(enrichment("shop", **spec))


def wished(of: MonitoredModel, *objects: Enrichment) -> ServerWish:
    found = server_wish(of, objects)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("spec", "objects", "has_one"),
    [
        ({}, (), False),
        ({}, (explained(),), True),
        ({}, (explained(enabled=False),), False),
        ({"serving": SERVING}, (), True),
        ({"serving": SERVING, "attributes": []}, (), True),
        ({"serving": SERVING, "lifecycle": "Archived"}, (explained(),), False),
    ],
)
def test_a_model_has_a_server_when_it_is_explained_or_served(
    spec: dict[str, Any], objects: tuple[Enrichment, ...], has_one: bool
) -> None:
    assert (server_wish(model(**spec), objects) is not None) == has_one


@pytest.mark.parametrize(
    ("serving", "config", "slots"),
    [
        (None, {}, {"explain-project": "upload"}),
        (
            None,
            {"project": WEB, "requirements": {"upload": {}}, "explainer": WEB},
            {"explain-project": "hash", "explain-requirements": "upload", "explain-explainer": "hash"},
        ),
        (SERVING, {}, {"serve-files": "upload"}),
        (SERVING, {"project": WEB}, {"explain-project": "hash", "serve-files": "upload"}),
        (
            SERVING | {"files": WEB, "requirements": {"configMap": {"name": "c", "key": "k"}}},
            None,
            {"serve-files": "hash", "serve-requirements": "hash"},
        ),
    ],
)
def test_each_declared_file_is_known_by_its_source(serving: Any, config: Any, slots: dict[str, str]) -> None:
    spec = {} if serving is None else {"serving": serving}
    objects = () if config is None else (explained(**config),)
    told = server_settings(wished(model(**spec), *objects), "http://x", "3.11")
    found = {slot: "upload" if name == "upload" else "hash" for slot, name in told.assets.items()}
    assert found == slots
    assert {len(name) for name in told.assets.values()} <= {6, 64}


def test_another_source_has_another_name() -> None:
    other = Source.model_validate({"http": {"url": "https://example.org/p.zip", "sha256": "1" * 64}})
    assert asset_hash(Source.model_validate(WEB)) != asset_hash(other)


def test_what_sizes_the_pods_changes_no_word_of_what_is_served() -> None:
    small, large = (settings_of(model(serving=SERVING | {"cpu": cpu})) for cpu in ("1", "2"))
    assert small.serving == large.serving
    assert small.serving is not None
    assert small.serving.webhooks is False


def test_the_serving_s_own_image_and_python_go_before_those_of_the_explanations() -> None:
    of = model(serving=SERVING | {"image": "a", "pythonVersion": "3.10"})
    both = wished(of, explained(image="b", pythonVersion="3.8"))
    assert (both.image, both.python_version) == ("a", "3.10")
    alone = wished(model(serving=SERVING), explained(image="b", pythonVersion="3.8"))
    assert (alone.image, alone.python_version) == ("b", "3.8")


def test_credentials_of_the_install_are_not_sent_to_an_index_of_a_model() -> None:
    secret = {"name": "login"}
    base = PackageIndex.model_validate(
        {"url": "https://a.example/simple", "credentialsSecretRef": secret, "proxy": "http://p:1"}
    )
    own = PackageIndex.model_validate({"url": "https://b.example/simple"})
    found = index_over(base, own)
    assert (found.url, found.credentials_secret_ref, found.proxy) == (own.url, None, base.proxy)
    assert index_over(base, PackageIndex()) == base
    assert index_over(base, None) is base
