"""Predictions in a cluster from a few lines of Python, as Cerebrium's Conduit made them.

    from modelwarden.client.conduit import Conduit, model_type

    conduit = Conduit("digits", [(model_type.SKLEARN_CLASSIFIER, "model.pkl", {"pre": pre_process})])
    conduit.load("./")
    conduit.run(data, files)                  # the same code as in the cluster, in a process of its own
    endpoint = conduit.deploy(namespace="risk")

What this package must not do: import pydantic, the operator, the server or a model's libraries.
"""

from modelwarden.client.conduit.api import Conduit, deploy
from modelwarden.client.conduit.errors import ConduitError, FlowFailedError
from modelwarden.client.conduit.stages import hardware, model_type

__all__ = ["Conduit", "ConduitError", "FlowFailedError", "deploy", "hardware", "model_type"]
