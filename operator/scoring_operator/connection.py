"""How the API server is reached: the pod's service account, or the current kubeconfig, read by the official client.

Only the official client's configuration is used, because it knows all the ways of a kubeconfig (exec plugins, OIDC,
client certificates) and re-reads the projected token of a service account. Requests themselves go through aiohttp: the
generated models cost several times the CPU of a plain JSON object.
"""

import os
import ssl
import warnings
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from kubernetes.aio import config as kubeconfig
from kubernetes.aio.client import Configuration


class UnconfiguredError(Exception):
    """Neither a service account nor a usable kubeconfig was found; the message is one line."""


@dataclass(frozen=True)
class Connection:
    """An API server and how to authenticate to it."""

    configuration: Any = field(repr=False)
    """A kubernetes.aio.client.Configuration."""

    @property
    def server(self) -> str:
        """The base URL, without a slash at the end."""
        return str(self.configuration.host).rstrip("/")

    async def headers(self) -> dict[str, str]:
        """The headers that authenticate a request made now; a service account's token is re-read every minute."""
        token = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": token} if token else {}

    def session(self, connections: int = 0) -> aiohttp.ClientSession:
        """A new HTTP session to this server that authenticates each request; the caller closes it.

        At most `connections` requests run at a time, or any number with 0.

        Chain, host name and validity of the server's certificate are verified as Go's clients do it. Python 3.13's
        additional strict checks are left out: they refuse authorities that kubectl accepts, such as those made
        without an authority key identifier.
        """
        given = self.configuration
        context = ssl.create_default_context(cafile=given.ssl_ca_cert, cadata=given.ca_cert_data)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if given.cert_file:
            context.load_cert_chain(given.cert_file, keyfile=given.key_file)
        if not given.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=context),
            middlewares=(self._authenticate,),
            proxy=given.proxy,
            headers={"User-Agent": "scoring-operator"},
        )

    async def _authenticate(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(await self.headers())
        if self.configuration.tls_server_name:
            request.server_hostname = self.configuration.tls_server_name
        return await handler(request)


async def connect() -> Connection:
    """The connection that this process's surroundings give: inside a pod its service account, else the kubeconfig.

    Raises:
        UnconfiguredError: there is neither, or it cannot be read.
    """
    configuration = Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and "KUBECONFIG" not in os.environ:
            kubeconfig.load_incluster_config(client_configuration=configuration)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                await kubeconfig.load_kube_config(
                    config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration, persist_config=False
                )
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UnconfiguredError(f"no Kubernetes to work for: {why}; set KUBECONFIG or run inside a cluster") from error
    return Connection(configuration)
