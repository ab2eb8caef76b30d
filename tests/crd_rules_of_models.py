"""The rules of a MonitoredModel but those of its attributes and its storage."""

from collections.abc import Iterator
from typing import Any

from crd_rule_cases import MODEL, NOTHING, SERVING, Case, Spec, changed, keys, once


def model_cases() -> Iterator[Case]:
    """Every case of this group."""
    yield from _names()
    yield from _model()
    yield from _watching()
    yield from _serving()


def _names() -> Iterator[Case]:
    short = "metadata.name must not be longer than"
    yield Case("MonitoredModel", "", short, ("m" * 50,), ("m" * 51,))
    shape = "metadata.name must start with a letter"
    yield Case("MonitoredModel", "", shape, ("a", "a-1"), ("1a", "a.b"))
    yield Case(
        "MonitoredModel", "", "metadata.name is taken", ("servers",), ("default", "kubernetes", "a-server")
    )
    for kind in ("ReferenceDataset", "Enrichment"):
        yield Case(kind, "", short, ("m" * 40,), ("m" * 41,))
        yield Case(kind, "", "metadata.name must hold only", ("1-a", "a"), ("a.b",))


def _model() -> Iterator[Case]:
    kind, path = "MonitoredModel", ".spec"
    serving_only: Spec = {"serving": SERVING}
    yield Case(kind, path, "a model needs attributes", (MODEL, serving_only), ({}, {"attributes": []}))
    yield Case(
        kind,
        path,
        "a model with attributes needs inputType and outputType",
        (MODEL,),
        (changed(MODEL, inputType=NOTHING), changed(MODEL, outputType=NOTHING)),
    )
    both = MODEL | {"serving": SERVING}
    types = {"inputType": "TABULAR", "outputType": "MULTICLASS"}
    rule = "attributes cannot be taken from"
    yield Case(
        kind, path, rule, (both | {"displayName": "x"},), (changed(both, attributes=NOTHING),), before=both
    )
    bare = serving_only | types
    # A model that only serves may be given its attributes once, with what decides how they are read.
    yield Case(kind, path, rule, (both, bare, bare | {"attributes": []}), (), before=bare)
    yield Case(kind, path, rule, (serving_only | types, both), (), before=serving_only)
    for key, other in (("inputType", "NLP"), ("outputType", "REGRESSION"), ("textDelimiter", ",")):
        rule = f"{key} cannot be changed, added or removed"
        yield Case(kind, path, rule, (bare | {key: other}, both | {key: other}), (), before=bare)
        yield Case(kind, path, rule, (both | {"displayName": "x"},), (both | {key: other},), before=both)
    yield from once(path, "partnerModelId", MODEL, "a", "b")
    yield from once(path, "textDelimiter", MODEL, ",", ",+")
    sized = MODEL | {"pixelHeight": 10, "pixelWidth": 10}
    for key in ("pixelHeight", "pixelWidth"):
        yield Case(
            kind,
            path,
            f"{key} cannot be changed",
            (sized | {"displayName": "x"},),
            (sized | {key: 11},),
            before=sized,
        )
    yield Case(
        kind,
        path,
        "pixelHeight and pixelWidth come together",
        (sized, MODEL),
        (MODEL | {"pixelHeight": 10}, MODEL | {"pixelWidth": 10}),
    )
    batch = "isBatch cannot be changed"
    yield Case(kind, path, batch, (bare | {"isBatch": True},), (), before=bare)
    yield Case(kind, path, batch, (MODEL | {"isBatch": False},), (MODEL | {"isBatch": True},), before=MODEL)
    yield Case(
        kind, path, batch, (MODEL | {"isBatch": True},), (MODEL, MODEL | {"isBatch": False}),
        before=MODEL | {"isBatch": True},
    )  # fmt: skip


def _watching() -> Iterator[Case]:
    kind = "MonitoredModel"
    yield Case(
        kind,
        ".spec.monitoring",
        "window must be a multiple of five minutes",
        tuple(changed(MODEL, monitoring__window=w) for w in ("5m", "300s", "1h", "7d", "2w")),
        tuple(changed(MODEL, monitoring__window=w) for w in ("4m", "301s", "7m")),
    )

    def segment(**fields: Any) -> Spec:
        return changed(MODEL, monitoring__segments=[{"name": "s", "where": [{"attribute": "sex"} | fields]}])

    yield Case(
        kind,
        ".spec.monitoring.segments[].where[]",
        "only the comparator in takes several values",
        (segment(values=["f"]), segment(values=["f", "m"], comparator="in")),
        (segment(values=["f", "m"]), segment(values=["1", "2"], comparator="gt")),
    )
    yield keys(".spec.pod.labels", "pod__labels", MODEL, 317)
    yield keys(".spec.pod.nodeSelector", "pod__nodeSelector", MODEL, 317)


def _serving() -> Iterator[Case]:
    kind, path = "MonitoredModel", ".spec.serving"
    serves: Spec = {"serving": SERVING}
    yield Case(
        kind,
        path,
        "minReplicas must not be greater",
        (changed(serves, serving__minReplicas=2),),
        (changed(serves, serving__minReplicas=3),),
    )
    yield Case(
        kind,
        path,
        "gpus needs hardware other than CPU",
        (changed(serves, serving__gpus=1, serving__hardware="AMPERE_A100"),),
        (changed(serves, serving__gpus=1),),
    )
    pipeline = {"modelType": "HUGGINGFACE_PIPELINE", "pipeline": {"task": "t", "model": "m"}}
    yield Case(
        kind,
        f"{path}.flow[]",
        "a stage needs a file, or a pipeline",
        (serves, changed(serves, serving__flow__0=pipeline)),
        (
            changed(serves, serving__flow__0__file=NOTHING),
            changed(serves, serving__flow__0=pipeline | {"file": "x"}),
        ),
    )
    yield Case(
        kind,
        f"{path}.flow[]",
        "pipeline is only for the modelType HUGGINGFACE_PIPELINE",
        (changed(serves, serving__flow__0=pipeline),),
        (changed(serves, serving__flow__0=pipeline | {"modelType": "SPACY"}),),
    )
