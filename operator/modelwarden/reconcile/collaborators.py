"""What the reconciles of all kinds share: the outside world, the install, the rhythm. Values only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from modelwarden.reconcile.ports import Cells, Cluster, Key
from modelwarden.resources.keys import cell_key
from modelwarden.resources.packages import PackageIndex, Runtime
from modelwarden.resources.pod import PodSpec, ResourceAmounts, Resources

DEFAULT_STORE_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="512Mi"), limits=ResourceAmounts(memory="1Gi")
)
DEFAULT_JOB_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="512Mi"), limits=ResourceAmounts(memory="2Gi")
)

# Of the image that this project's Dockerfile makes.
DEFAULT_PYTHON = "3.11"


@dataclass(frozen=True)
class Install:
    """What is the same for every cell of this install."""

    namespace: str
    secret: bytes = field(repr=False)
    cell_image: str
    pull_policy: str = "IfNotPresent"
    ingress_namespaces: tuple[str, ...] = ()
    store_resources: Resources = DEFAULT_STORE_RESOURCES
    training_resources: Resources = DEFAULT_JOB_RESOURCES
    pod_defaults: PodSpec = field(default_factory=PodSpec)
    cell_python: str = DEFAULT_PYTHON
    runtimes: tuple[Runtime, ...] = ()
    package_index: PackageIndex = field(default_factory=PackageIndex)

    def key_of(self, namespace: str, name: str, epoch: int) -> str:
        """The key of a cell."""
        return cell_key(self.secret, namespace, name, epoch)


@dataclass(frozen=True)
class Rhythm:
    """Seconds: between looks at a store, between writes of mere data facts, until clean-up is given up."""

    poll: float
    facts: float
    delete_deadline: float


@dataclass(frozen=True)
class Collaborators:
    """Handed to every reconcile. `endpoint`: the URL of a model's cell; `now`: aware."""

    cluster: Cluster
    cells: Cells
    install: Install
    rhythm: Rhythm
    endpoint: Callable[[Key], str]
    now: Callable[[], datetime]
