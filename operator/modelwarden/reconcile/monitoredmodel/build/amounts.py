"""How much a server's containers may use and ask for, and how many pods there are. Pure.

What people write are limits: the most that one pod may use. A share of that is requested, so that a server
which is mostly idle does not keep a node for itself.
"""

from decimal import ROUND_CEILING, Decimal
from typing import Final

from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.enrichment import ExplainabilityConfig
from modelwarden.resources.quantities import parse_quantity
from modelwarden.resources.server_settings import ServerWish

REQUESTED: Final = Decimal("0.25")
"""Share of the limits that is requested."""
BUSY: Final = Decimal("0.8")
"""Share of the processor limit from which on there should be more pods."""
_GPU = "nvidia.com/gpu"
_MEBIBYTE = 1024**2


def model_server_resources(wish: ServerWish) -> Manifest:
    """Of the container that runs user code. A model that is explained and served has both in it."""
    parts = [(wish.explain.model_server_cpu, wish.explain.model_server_memory)] if wish.explain else []
    parts += [(wish.serving.cpu, wish.serving.memory)] if wish.serving else []
    cpu = sum((parse_quantity(cpu) for cpu, _ in parts), Decimal(0))
    memory = sum((parse_quantity(memory) for _, memory in parts), Decimal(0))
    found = _resources(cpu, memory)
    if wish.serving is not None and wish.serving.hardware != "CPU":
        found["limits"][_GPU] = str(wish.serving.gpus or 1)
    return found


def sidecar_resources(wish: ServerWish) -> Manifest:
    """Of the container that takes in and passes on."""
    config = wish.explain or ExplainabilityConfig()
    cpu, memory = config.inference_consumer_cpu, config.inference_consumer_memory
    return _resources(parse_quantity(cpu), parse_quantity(memory))


def threads_of(wish: ServerWish) -> int:
    """How many threads a numeric library may use in the model server: no more than it has processors."""
    limit = model_server_resources(wish)["limits"]["cpu"]
    return max(1, int(parse_quantity(limit).to_integral_value(rounding=ROUND_CEILING)))


def replicas_of(wish: ServerWish) -> tuple[int, int]:
    """Fewest and most pods."""
    serving, explain = wish.serving, wish.explain
    fewest = max(1, serving.min_replicas) if serving else 1
    most = max(serving.max_replicas if serving else 1, explain.model_server_max_replicas if explain else 1)
    return fewest, max(fewest, most)


def _resources(cpu: Decimal, memory: Decimal) -> Manifest:
    return {
        "requests": {"cpu": _cores(cpu * REQUESTED), "memory": _mebibytes(memory * REQUESTED)},
        "limits": {"cpu": _cores(cpu), "memory": _mebibytes(memory)},
    }


def _cores(amount: Decimal) -> str:
    # A limit of nothing would be no limit.
    return f"{max(1, int((amount * 1000).to_integral_value(rounding=ROUND_CEILING)))}m"


def _mebibytes(amount: Decimal) -> str:
    return f"{max(1, int((amount / _MEBIBYTE).to_integral_value(rounding=ROUND_CEILING)))}Mi"
