"""What Conduit raises. Must not hold data of a request."""

from modelwarden.client.errors import ClientError


class ConduitError(ClientError):
    """A flow that cannot be bundled, loaded or deployed. The message says what to do."""


class FlowFailedError(ConduitError):
    """The flow refused the data or failed on it, as it would in the cluster."""
