"""Where the API server is and who we are to it: in-cluster first, else the kubeconfig.

Both our own client and kopf's watches connect with what is loaded here, so that there is one truth. Nothing
is cached at module level; tokens are read anew by the library's own hook (they rotate hourly).
"""

from dataclasses import dataclass
from typing import Any

import kubernetes.aio.client as k8s
import kubernetes.aio.config as k8s_config


@dataclass(frozen=True)
class Connection:
    """A loaded configuration of the client library."""

    configuration: Any
    user_agent: str

    async def authorization(self) -> str | None:
        """The value of the Authorization header, fresh; None with client certificates."""
        header: str | None = await self.configuration.get_api_key_with_prefix(
            "BearerToken", alias="authorization"
        )
        return header

    async def for_watches(self) -> dict[str, Any]:
        """The same connection as keyword arguments of `kopf.ConnectionInfo`."""
        scheme, _, token = (await self.authorization() or "").partition(" ")
        config = self.configuration
        return {
            "server": config.host,
            "ca_path": config.ssl_ca_cert,
            "insecure": not config.verify_ssl,
            "certificate_path": config.cert_file,
            "private_key_path": config.key_file,
            "scheme": scheme.capitalize() or None,
            "token": token or None,
        }

    def client(self) -> Any:
        """A new `ApiClient`; the caller closes it."""
        client = k8s.ApiClient(self.configuration)
        client.user_agent = self.user_agent
        return client


async def connect(user_agent: str, kubeconfig: str | None = None) -> Connection:
    """Load the service account's connection, else a kubeconfig's (None: KUBECONFIG, or the usual place).

    Raises ConfigException with neither.
    """
    configuration = k8s.Configuration()
    try:
        k8s_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except k8s_config.ConfigException:
        await k8s_config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.client_side_validation = False
    return Connection(configuration, user_agent)
