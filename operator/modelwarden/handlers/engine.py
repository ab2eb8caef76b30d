"""kopf as we use it: list and watch. No finalizer, no annotation, no patch and no event of its own."""

from typing import Any

import kopf

from modelwarden.resources.meta import GROUP


def engine_settings() -> kopf.OperatorSettings:
    """Settings under which kopf only watches, and notices when a watch has gone silent."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True  # needs no right to list CRDs and namespaces
    settings.persistence.finalizer = f"{GROUP}/kopf"  # never set with event handlers only; ours if it ever is
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{GROUP}")
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.process.ultimate_exiting_timeout = 20
    return settings


def register_login(registry: kopf.OperatorRegistry, connection: Any) -> None:
    """Let kopf connect as our own client does; called again whenever a token has run out."""

    @kopf.on.login(registry=registry, id="login")
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**await connection.for_watches())
