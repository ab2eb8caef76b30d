"""The rules of ReferenceDatasets, Enrichments, and of sources wherever they are."""

from collections.abc import Iterator

from crd_rule_cases import DATASET, NOTHING, SERVING, SOURCES, Case, Spec, changed


def dependent_cases() -> Iterator[Case]:
    """Every case of this group."""
    yield from _sources()
    yield from _datasets()
    yield from _enrichments()


def _sources() -> Iterator[Case]:
    enriched = {
        "modelRef": {"name": "m"},
        "type": "Explainability",
        "explainability": {"project": {"upload": {}}},
    }
    places = (
        ("ReferenceDataset", ".spec.source", DATASET),
        ("MonitoredModel", ".spec.serving.files", {"serving": SERVING}),
        ("MonitoredModel", ".spec.serving.requirements", {"serving": SERVING}),
        ("Enrichment", ".spec.explainability.project", enriched),
        ("Enrichment", ".spec.explainability.requirements", enriched),
        ("Enrichment", ".spec.explainability.explainer", enriched),
    )
    two = {key: SOURCES[key] for key in ("upload", "http")}
    for kind, path, before in places:
        place = path.removeprefix(".spec.").replace(".", "__")
        yield Case(
            kind,
            path,
            "say where it comes from",
            tuple(changed(before, **{place: {key: source}}) for key, source in SOURCES.items()),
            tuple(changed(before, **{place: source}) for source in ({}, two, SOURCES)),
        )


def _datasets() -> Iterator[Case]:
    kind, path = "ReferenceDataset", ".spec"
    closed = DATASET | {"closed": True, "source": {"http": SOURCES["http"]}}
    for before in (DATASET, closed):
        yield Case(
            kind,
            path,
            "modelRef cannot be changed",
            (before | {"totalRecordCount": 3},),
            (before | {"modelRef": {"name": "other"}},),
            before=before,
        )
    yield Case(
        kind,
        path,
        "a closed dataset cannot be opened again",
        (closed | {"totalRecordCount": 3},),
        (closed | {"closed": False}, changed(closed, closed=NOTHING)),
        before=closed,
    )
    yield Case(
        kind,
        path,
        "source cannot be changed once the dataset is closed",
        (closed,),
        (
            closed | {"source": {"upload": {}}},
            changed(closed, source=NOTHING),
            changed(closed, source__http__sha256="1" * 64),
        ),
        before=closed,
    )
    yield Case(
        kind,
        path,
        "source cannot be changed once the dataset is closed",
        (closed, DATASET | {"source": {"configMap": SOURCES["configMap"]}}),
        (),
        before=DATASET,
    )
    yield Case(
        kind,
        path,
        "format cannot be changed once the dataset is closed",
        (closed | {"format": "parquet"},),
        (closed | {"format": "json"},),
        before=closed,
    )


def _enrichments() -> Iterator[Case]:
    kind, path = "Enrichment", ".spec"
    spots: Spec = {"modelRef": {"name": "m"}, "type": "Hotspots"}
    yield Case(
        kind,
        path,
        "modelRef cannot be changed",
        (spots | {"enabled": False},),
        (spots | {"modelRef": {"name": "other"}},),
        before=spots,
    )
    yield Case(
        kind,
        path,
        "type cannot be changed",
        (spots | {"hotspots": {}},),
        (spots | {"type": "AnomalyDetection"},),
        before=spots,
    )
    types = {
        "anomalyDetection": "AnomalyDetection",
        "biasMitigation": "BiasMitigation",
        "explainability": "Explainability",
        "hotspots": "Hotspots",
    }
    for key, type_ in types.items():
        others = [other for other in types.values() if other != type_]
        yield Case(
            kind,
            path,
            f"{key} is only for the type",
            (spots | {"type": type_, key: {}},),
            tuple(spots | {"type": other, key: {}} for other in others),
        )
    explained = spots | {"type": "Explainability", "explainability": {"project": {"upload": {}}}}
    upload: Spec = {"upload": {}}
    yield Case(
        kind,
        ".spec.explainability",
        "requirements and explainer belong to a project",
        (
            explained,
            changed(explained, explainability__requirements=upload, explainability__explainer=upload),
        ),
        (
            changed(explained, explainability={"requirements": upload}),
            changed(explained, explainability={"explainer": upload}),
        ),
    )
