"""The rules about where a model's data and its stream are."""

from collections.abc import Iterator

from crd_rule_cases import BUCKET, KAFKA, MODEL, NOTHING, Case, Spec, changed, keys, once


def storage_cases() -> Iterator[Case]:
    """Every case of this group."""
    yield from _retention()
    yield from _storage()
    yield from _stream()


def _retention() -> Iterator[Case]:
    claim: Spec = {"persistentVolumeClaim": {}}
    kept = changed(MODEL, storage=claim | {"retention": "2w"})
    yield Case(
        "MonitoredModel",
        ".spec",
        "storage.retention must not be shorter than monitoring.labelDelay",
        (kept, changed(kept, monitoring__labelDelay="14d"), changed(MODEL, monitoring__labelDelay="90d")),
        (changed(kept, monitoring__labelDelay="15d"), changed(kept, monitoring__labelDelay="337h")),
    )
    yield Case(
        "MonitoredModel",
        ".spec",
        "storage.labelRetention must not be shorter than storage.retention",
        (
            changed(kept, storage__labelRetention="3w"),
            changed(MODEL, storage=claim | {"labelRetention": "1d"}),
        ),
        (changed(kept, storage__labelRetention="13d"),),
    )


def _storage() -> Iterator[Case]:
    kind, path = "MonitoredModel", ".spec.storage"
    claim = changed(MODEL, storage={"persistentVolumeClaim": {"size": "1Gi"}})
    bucket = changed(MODEL, storage=BUCKET)
    yield Case(
        kind,
        path,
        "say where the data are kept",
        (MODEL, claim, bucket),
        (changed(MODEL, storage={"retention": "1d"}), changed(bucket, storage__persistentVolumeClaim={})),
    )
    moved = "storage cannot change between"
    yield Case(kind, path, moved, (claim | {"tags": ["x"]},), (bucket,), before=claim)
    yield Case(
        kind,
        path,
        moved,
        (bucket | {"tags": ["x"]},),
        (claim, changed(bucket, storage=NOTHING)),
        before=bucket,
    )
    yield Case(kind, path, "log is only for objectStore", (bucket,), (changed(claim, storage__log={}),))
    streamed = changed(MODEL, storage={"objectStore": {"uri": "s3://b/p"}}, stream=KAFKA)
    logged = changed(streamed, storage=BUCKET)
    stays = "log cannot be added or removed"
    yield Case(kind, path, stays, (logged | {"tags": ["x"]},), (streamed,), before=logged)
    yield Case(kind, path, stays, (streamed | {"tags": ["x"]},), (logged,), before=streamed)
    yield Case(
        kind,
        ".spec",
        "storage.objectStore needs storage.log",
        (bucket, streamed),
        (changed(bucket, storage__log=NOTHING),),
    )
    yield Case(
        kind,
        ".spec",
        "stream cannot be added or removed",
        (MODEL | {"tags": ["x"]},),
        (MODEL | {"stream": KAFKA},),
        before=MODEL,
    )
    yield Case(
        kind, ".spec", "stream cannot be added or removed", (logged | {"tags": ["x"]},),
        (changed(logged, stream=NOTHING),), before=logged,
    )  # fmt: skip
    for place, before in ((".spec.storage.persistentVolumeClaim", claim), (".spec.storage.log", bucket)):
        yield from _claim(place, before)
    for key, one, other in (
        ("endpoint", "http://one:9000", "http://two:9000"),
        ("region", "eu-1", "eu-2"),
    ):
        yield from once(".spec.storage.objectStore", key, bucket, one, other)
    yield Case(
        kind,
        ".spec.storage.objectStore",
        "uri cannot be changed",
        (changed(bucket, storage__objectStore__credentialsSecretRef={"name": "s"}),),
        (changed(bucket, storage__objectStore__uri="s3://b/other"),),
        before=bucket,
    )


def _claim(path: str, before: Spec) -> Iterator[Case]:
    kind = "MonitoredModel"
    place = path.removeprefix(".spec.").replace(".", "__")
    yield from once(path, "storageClassName", before, "fast", "slow")
    yield Case(
        kind,
        path,
        "accessModes cannot be changed",
        (changed(before, **{f"{place}__accessModes": ["ReadWriteOnce"]}),),
        (changed(before, **{f"{place}__accessModes": ["ReadWriteOncePod"]}),),
        before=before,
    )
    yield Case(
        kind,
        path,
        "a claim can grow but not shrink",
        tuple(changed(before, **{f"{place}__size": size}) for size in ("1Gi", "1024Mi", "2Gi")),
        tuple(changed(before, **{f"{place}__size": size}) for size in ("1023Mi", "1G")),
        before=before,
        says="it has 1Gi, so ",
    )
    yield Case(
        kind,
        path,
        "size must be greater than 0",
        (before,),
        tuple(changed(before, **{f"{place}__size": size}) for size in ("0", "0Gi", "0.0")),
    )


def _stream() -> Iterator[Case]:
    kind, path = "MonitoredModel", ".spec.stream.kafka"
    direct = MODEL | {"stream": KAFKA}
    strimzi = MODEL | {"stream": {"kafka": {"clusterRef": {"name": "k"}}}}
    yield Case(
        kind,
        path,
        "say which Kafka cluster",
        (direct, strimzi),
        (MODEL | {"stream": {"kafka": {}}}, changed(direct, stream__kafka__clusterRef={"name": "k"})),
    )
    other = "the Kafka cluster cannot change between"
    yield Case(
        kind,
        path,
        other,
        (changed(direct, stream__kafka__bootstrapServers="other:9092"),),
        (strimzi,),
        before=direct,
    )
    yield from once(f"{path}.topic", "name", direct, "t", "u")
    three = changed(direct, stream__kafka__topic={"partitions": 3})
    yield Case(
        kind,
        f"{path}.topic",
        "the partitions of a topic can only grow",
        (changed(three, stream__kafka__topic__partitions=4),),
        (changed(three, stream__kafka__topic__partitions=2),),
        before=three,
    )
    yield keys(f"{path}.topic.config", "stream__kafka__topic__config", direct, 128)
