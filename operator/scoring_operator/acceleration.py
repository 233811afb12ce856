"""What became of `accelerate`: which model answers, the converted or compiled one or the user's own, and what is won.

Only the model server knows, once it has loaded the model. Pods are not watched, and what they say of this stays the
same as long as the version does: so one pod of a version is asked, when the version has become ready, and the answer is
kept in the status beside the version's hash, where the next pass, and the next operator, find it. A pod that does not
answer is asked a few times more and then left alone.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from scoring_operator import naming
from scoring_operator.conditions import VersionFacts
from scoring_operator.errors import OperatorError
from scoring_operator.frameworks import ACCELERATED_FRAMEWORKS
from scoring_operator.kinds import POD
from scoring_operator.kube import Kube
from scoring_operator.pods import is_ready
from scoring_operator.resources.environment import METRICS_PORT
from scoring_operator.spec import ScoringService, Version
from scoring_operator.status import ACCELERATION, Acceleration

logger = logging.getLogger(__name__)

Ask = Callable[[str], Awaitable[Sequence[Any] | None]]

_PAUSES = (5.0, 30.0, 120.0)
"""Seconds between the tries to ask a version's pods."""
_TIMEOUT_SECONDS = 3.0
_LARGEST = 64 * 1024
_LONGEST = 600


@dataclass
class _Tries:
    """How often a version was asked in vain, and when it is asked again."""

    of: str
    """The version's hash."""
    count: int = 0
    next_try: float = 0.0


class Accelerations:
    """Asks pods, and remembers which did not answer. `clock` is steady, in seconds; `ask` is given a pod's address."""

    def __init__(self, kube: Kube, clock: Callable[[], float], ask: Ask | None = None) -> None:
        self._kube = kube
        self._clock = clock
        self._ask = ask or ask_pod
        self._tries: dict[tuple[str, str], _Tries] = {}
        """By the uid of the service and the name of the version."""

    async def known(
        self, service: ScoringService, facts: Sequence[VersionFacts], status: Mapping[str, Any]
    ) -> dict[str, Acceleration]:
        """Version → what is known of it, from `status` or, if it is ready and it is time, from one of its pods."""
        records = {record.get("name"): record for record in status.get("versions") or []}
        ready = {part.name for part in facts if part.complete and part.ready}
        found = {}
        for version in service.versions:
            if not version.accelerate:
                continue
            record = records.get(version.name, {})
            kept = record.get(ACCELERATION) if record.get("specHash") == version.spec_hash else None
            acceleration = kept or (await self._if_due(service, version) if version.name in ready else None)
            if acceleration:
                self._tries.pop((service.uid, version.name), None)
                found[version.name] = acceleration
        return found

    def next_try(self, service: ScoringService) -> float | None:
        """Seconds until a pod of the service is to be asked again; None when none is."""
        due = [
            tries.next_try
            for version in service.versions
            if (tries := self._tries.get((service.uid, version.name))) is not None and tries.count <= len(_PAUSES)
        ]
        return max(min(due) - self._clock(), 0.05) if due else None

    def forget(self, uid: str) -> None:
        """Drop what is remembered about a service that is gone."""
        for key in [key for key in self._tries if key[0] == uid]:
            del self._tries[key]

    async def _if_due(self, service: ScoringService, version: Version) -> Acceleration | None:
        key, moment = (service.uid, version.name), self._clock()
        tries = self._tries.get(key)
        if tries is None or tries.of != version.spec_hash:
            tries = self._tries[key] = _Tries(version.spec_hash)
        if tries.count > len(_PAUSES) or moment < tries.next_try:
            return None
        found = await self._read(service, version)
        if found is None:
            tries.next_try = moment + _PAUSES[min(tries.count, len(_PAUSES) - 1)]
            tries.count += 1
        return found

    async def _read(self, service: ScoringService, version: Version) -> Acceleration | None:
        selector = naming.selector_text(naming.selector(service.name, version.name))
        try:
            pods = await self._kube.list(POD, service.namespace, selector)
        except OperatorError as error:
            logger.debug("the pods of a version cannot be listed: %s", error)
            return None
        addresses = [pod["status"].get("podIP") for pod in pods.items if is_ready(pod)]
        address = next((one for one in addresses if one), None)
        models = await self._ask(address) if address else None
        return None if models is None else summary(models)


async def ask_pod(address: str, port: int = METRICS_PORT) -> Sequence[Any] | None:
    """What the model server of a pod says of how its models are run; None when it does not answer, or not so."""
    host = f"[{address}]" if ":" in address else address
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(f"http://{host}:{port}/model", allow_redirects=False) as response,
        ):
            if response.status != 200:
                return None
            models = json.loads(await _whole(response))["models"]
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
        logger.debug("a pod does not say how its model is run: %s", type(error).__name__)
        return None
    return models if isinstance(models, list) else None


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises ValueError when it is larger than any that a model server sends."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _LARGEST:
            raise ValueError("too large")
    return body


def summary(models: Sequence[Any]) -> Acceleration | None:
    """What the models of a pod say in one: the least gain, the largest difference, and why which is not converted.

    None when none says anything of it.
    """
    said = [model for model in models if isinstance(model, dict) and isinstance(model.get("parameters"), dict)]
    converted = [
        model["parameters"] for model in said if model["parameters"].get("accelerate") in ACCELERATED_FRAMEWORKS
    ]
    unconverted = [model for model in said if model["parameters"].get("accelerate") == "none"]
    if not converted and not unconverted:
        return None
    found = {"inUse": "both" if converted and unconverted else converted[0]["accelerate"] if converted else "original"}
    for field, name, worst in (
        ("timesFaster", "accelerate_times_faster", min),
        ("largestDifference", "accelerate_largest_difference", max),
    ):
        values = [parameters[name] for parameters in converted if isinstance(parameters.get(name), int | float)]
        if values:
            found[field] = f"{worst(values):g}"
    reasons = [_reason(model) for model in unconverted]
    if reasons:
        text = "; ".join(reasons)
        found["message"] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return found


def _reason(model: Mapping[str, Any]) -> str:
    reason = " ".join(str(model["parameters"].get("accelerate_reason", "")).split())
    return f"model {model['name']}: {reason}" if "name" in model else reason
