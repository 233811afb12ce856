"""Asking pods for their load: one small HTTP request to each, without waiting long for any.

The address of a pod comes from the EndpointSlices of its version. Pods are asked on the port of metrics, which answers
however busy the model is (docs/runtime.md).
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from scoring_operator.autoscaling.decision import PodLoad
from scoring_operator.autoscaling.wakeups import QUERY, calls
from scoring_operator.envoy.listeners import STATS_PATH
from scoring_operator.kube import KubeObject
from scoring_operator.naming import SERVICE_LABEL, VERSION_LABEL
from scoring_operator.resources.environment import METRICS_PORT

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 2.0
_LARGEST = 64 * 1024

VersionKey = tuple[str, str, str]
"""Namespace, service and version."""
ROUTER = ""
"""Stands for the version in the key of a service's router."""


class Loads(Protocol):
    """Where loads come from."""

    async def ask(self, address: str) -> PodLoad | None:
        """The load of the pod at this address; None when it does not say."""

    async def calls(self, address: str) -> dict[str, int] | None:
        """Version → how often the router at this address was asked for it; None when it does not say."""


class PodLoads:
    """The loads of real pods. Used as a context manager, in the loop that asks."""

    def __init__(self, port: int = METRICS_PORT) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, address: str) -> PodLoad | None:
        """The load of the pod at this address; None when it does not answer in two seconds, or not as it should."""
        body = await self._get(address, "/load")
        try:
            return None if body is None else _parsed(body)
        except ValueError as error:
            logger.debug("a pod does not tell its load: %s", error, extra={"address": address})
            return None

    async def calls(self, address: str) -> dict[str, int] | None:
        """Version → how often the router at this address was asked for it; None when it does not say."""
        body = await self._get(address, f"{STATS_PATH}?{QUERY}")
        return None if body is None else calls(body.decode(errors="replace"))

    async def _get(self, address: str, path: str) -> bytes | None:
        host = f"[{address}]" if ":" in address else address
        url = URL(f"http://{host}:{self._port}{path}", encoded=True)
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _LARGEST:
                        return None
                return bytes(body) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            logger.debug("a pod does not answer: %s", error, extra={"address": address})
            return None


def _parsed(body: bytes) -> PodLoad:
    """Raises ValueError for anything but a load."""
    try:
        found = _json(body)
        busy, queued, slots = (int(found[name]) for name in ("busy", "queued", "slots"))
    except (TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"no load report: {type(error).__name__}") from None
    if min(busy, queued) < 0 or slots < 1:
        raise ValueError("a load report with impossible numbers")
    return PodLoad(busy, queued, slots)


def addresses(slices: Iterable[KubeObject]) -> dict[VersionKey, list[str]]:
    """One address of each ready pod of each version, from EndpointSlices with the version's labels.

    Those without a version are of the Service in front: the router, once it is ready.
    """
    found: dict[VersionKey, dict[str, str]] = {}
    for one in slices:
        labels = one["metadata"].get("labels", {})
        service, version = labels.get(SERVICE_LABEL), labels.get(VERSION_LABEL, ROUTER)
        if service and one.get("addressType") != "FQDN":
            ready = found.setdefault((one["metadata"]["namespace"], service, version), {})
            for endpoint in one.get("endpoints") or []:
                conditions = endpoint.get("conditions") or {}
                if conditions.get("ready") is not False and endpoint.get("addresses"):
                    address = str(endpoint["addresses"][0])
                    ready.setdefault((endpoint.get("targetRef") or {}).get("name", address), address)
    return {key: sorted(ready.values()) for key, ready in found.items()}


async def ask_all(loads: Loads, where: Iterable[str]) -> list[PodLoad | None]:
    """The loads of all pods at these addresses, asked at once."""
    return list(await asyncio.gather(*(loads.ask(address) for address in where)))


async def calls_of(loads: Loads, routers: Sequence[str], version: str) -> dict[str, int | None]:
    """Router's address → how often it was asked for the version; None for one that does not say."""
    told = await asyncio.gather(*(loads.calls(address) for address in routers))
    return {
        address: None if counts is None else counts.get(version, 0)
        for address, counts in zip(routers, told, strict=True)
    }


def _json(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found
