"""The Kafka topic through which a model's inferences come, if they do."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.meta import ResourceName, SecretRef
from modelwarden.resources.schema import ResourceModel, Rule, exactly_one, unchangeable, validations
from modelwarden.resources.storage import DeletionPolicy

_OTHER_LOG = "what is in the log would be lost; make a new model instead"

BootstrapServers = Annotated[
    str,
    StringConstraints(min_length=3, max_length=2048, pattern=r"^[^\s,]+:[0-9]{1,5}(,[^\s,]+:[0-9]{1,5})*$"),
]
ConfigKey = Annotated[str, StringConstraints(min_length=1, max_length=128)]
ConfigValue = Annotated[str, StringConstraints(max_length=1024)]


class StrimziClusterRef(ResourceModel):
    """A Kafka cluster run by Strimzi."""

    name: ResourceName
    """Name of the Kafka resource."""
    namespace: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    """Namespace of the Kafka resource. Left out: that of the model."""


class Topic(ResourceModel):
    """The model's topic."""

    name: (
        Annotated[str, StringConstraints(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$")] | None
    ) = None
    """Name of the topic. Left out: derived from namespace and name of the model."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of partitions. It can grow, never shrink. Default 3."""
    replication_factor: Annotated[int, Field(ge=1, le=10)] | None = None
    """Number of replicas. Left out: the cluster's default."""
    config: Annotated[dict[ConfigKey, ConfigValue], Field(max_length=50)] = Field(default_factory=dict)
    """Further topic settings, as Kafka names them, for example retention.ms."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            unchangeable("name", _OTHER_LOG),
            Rule(
                rule="self.partitions >= oldSelf.partitions",
                message="the partitions of a topic can only grow",
                field_path=".partitions",
            ),
        )
    )


class Kafka(ResourceModel):
    """Which cluster, which topic, and who we are there."""

    bootstrap_servers: BootstrapServers | None = None
    """Brokers to start from: host:port, several separated by commas."""
    cluster_ref: StrimziClusterRef | None = None
    """A cluster run by Strimzi; topic and user are made through its resources."""
    topic: Topic = Topic()
    """The topic that holds the model's inferences."""
    auth_secret_ref: SecretRef | None = None
    """Secret with the credentials. It must carry the label modelwarden.dev/usable-by-models: "true"."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to. Default PLAINTEXT."""
    deletion_policy: DeletionPolicy = "Retain"
    """Whether the topic is removed with the model (Delete) or stays (Retain, the default)."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            exactly_one(("bootstrapServers", "clusterRef"), "say which Kafka cluster"),
            Rule(
                rule="has(self.clusterRef) == has(oldSelf.clusterRef)",
                message=f"the Kafka cluster cannot change between bootstrapServers and clusterRef:"
                f" {_OTHER_LOG}",
            ),
        )
    )


class Stream(ResourceModel):
    """How inferences stream in."""

    kafka: Kafka
    """A Kafka topic, which is then also the model's log."""
