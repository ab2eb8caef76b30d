"""The model's id: a pure function of who owns it and what it is called, so it survives a restore from Git."""

import uuid

from modelwarden.resources.meta import GROUP

# Ids in users' systems derive from it: it must never change.
PROJECT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, GROUP)


def model_id(organisation: str, partner_or_name: str) -> str:
    """UUIDv5 of (organisation, partner model id or object name). The organisation is the Kubernetes
    namespace.

    A namespace cannot contain a slash, so no two pairs give the same text.
    """
    return str(uuid.uuid5(PROJECT_NAMESPACE, f"{organisation}/{partner_or_name}"))
