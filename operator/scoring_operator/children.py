"""Makes the children of a service what they should be: apply what differs, delete what is no longer wanted.

Nothing is written for a child that is as it should be. An object of a child's name that somebody else made is left
alone, and so is then everything else of the service, because half a service helps nobody.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scoring_operator.diff import differences, not_held
from scoring_operator.errors import NameConflict, OperatorError
from scoring_operator.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    MIDDLEWARE,
    SCALED_OBJECT,
    SECRET,
    Kind,
    child_kind,
)
from scoring_operator.kube import Kube, KubeObject
from scoring_operator.naming import VERSION_LABEL
from scoring_operator.replicas import first_replicas, gives_up_replicas
from scoring_operator.spec import ScoringService
from scoring_operator.store import Store, controller_uid

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST = frozenset({"ServiceAccount", SECRET.kind, CONFIG_MAP.kind, MIDDLEWARE.kind})
"""What others refer to: a pod that starts before its Secret or ConfigMap waits for the next try of kubelet."""
_SCALERS = frozenset({AUTOSCALER, SCALED_OBJECT})
"""Where one takes the place of another it goes first: KEDA refuses a Deployment that has a HorizontalPodAutoscaler."""


@dataclass(frozen=True)
class Changes:
    """What one pass wrote, as `Kind name` (updates with the fields that differed)."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.created or self.updated or self.deleted)


@dataclass(frozen=True)
class _Planned:
    """A child that has to be applied."""

    kind: Kind
    manifest: KubeObject
    live: KubeObject | None
    fields: tuple[str, ...] = ()
    begin: int | None = None
    """The pods to ask for once it is there, where the manifest says no number."""

    def __str__(self) -> str:
        return f"{self.kind} {self.manifest['metadata']['name']}"


@dataclass(frozen=True)
class _Compared:
    """That a child was found to be what is wanted, so that it need not be compared again until it changes."""

    digest: str
    """Of the wanted manifest."""
    version: str
    """The child's resource version."""
    left: tuple[str, ...]
    """Fields that differed right after they were applied, because the API server or a webhook changes them."""


class Children:
    """Applies and prunes the children of services."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube = kube
        self._store = store
        self._compared: dict[str, _Compared] = {}
        """Child's uid → how it compared the last time."""

    async def converge(
        self, service: ScoringService, wanted: Sequence[KubeObject], leaving: Sequence[str] = ()
    ) -> Changes:
        """Make the children of `service` the `wanted` ones; what belongs to the versions `leaving` stays as it is.

        Raises NameConflict before anything is written, or what the API server refused after all else was tried.
        """
        found = await _all([self._plan(service, manifest) for manifest in wanted])
        plan = [planned for planned in found if planned is not None]
        surplus = self._surplus(service, wanted, leaving)
        await _all([self._delete(kind, child) for kind, child in surplus if kind in _SCALERS])
        await _all([self._apply(planned) for planned in plan if planned.kind.kind in _FIRST])
        await _all([self._apply(planned) for planned in plan if planned.kind.kind not in _FIRST])
        await _all([self._delete(kind, child) for kind, child in surplus if kind not in _SCALERS])
        return Changes(
            created=tuple(str(planned) for planned in plan if planned.live is None),
            updated=tuple(f"{planned} ({', '.join(planned.fields)})" for planned in plan if planned.live is not None),
            deleted=tuple(sorted(f"{kind} {child['metadata']['name']}" for kind, child in surplus)),
        )

    async def _plan(self, service: ScoringService, manifest: KubeObject) -> _Planned | None:
        kind = child_kind(manifest["apiVersion"], manifest["kind"])
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        live = self._store.get(kind, namespace, name)
        if live is None:
            found = await self._kube.metadata(kind, namespace, name)
            if found is not None and controller_uid(found) != service.uid:
                raise NameConflict(kind.kind, namespace, name)
            begin = first_replicas(service, manifest) if kind is DEPLOYMENT else None
            return _Planned(kind, manifest, None, begin=begin)
        if controller_uid(live) != service.uid:
            raise NameConflict(kind.kind, namespace, name)
        digest = _digest(manifest)
        before = self._compared.get(live["metadata"]["uid"])
        known = before if before is not None and before.digest == digest else None
        if known is not None and known.version == live["metadata"]["resourceVersion"]:
            return None
        fields = tuple(differences(live, manifest))
        if fields and (known is None or known.left != fields):
            return _Planned(kind, manifest, live, fields)
        self._remember(live, digest, fields)
        return None

    async def _apply(self, planned: _Planned) -> None:
        manifest = planned.manifest
        if planned.kind is SECRET and planned.live is not None:
            # Somebody may have rotated a key since the Secret was seen: then the API server answers with a conflict.
            version = planned.live["metadata"]["resourceVersion"]
            manifest = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        if planned.kind is DEPLOYMENT and planned.live is not None and gives_up_replicas(planned.live, manifest):
            await self._kube.share_replicas(DEPLOYMENT, planned.live)
        applied = await self._kube.apply(planned.kind, manifest)
        self._store.put(planned.kind, applied)
        if planned.begin is not None and planned.begin != applied["spec"]["replicas"]:
            await self._kube.scale(DEPLOYMENT, applied, planned.begin)
        left = tuple(not_held(applied, planned.manifest))
        self._remember(applied, _digest(planned.manifest), left)
        if left:
            logger.warning(
                "the API server or a webhook keeps other values than those applied",
                extra={"child": str(planned), "fields": list(left)},
            )

    def _remember(self, live: KubeObject, digest: str, left: tuple[str, ...]) -> None:
        self._compared[live["metadata"]["uid"]] = _Compared(digest, live["metadata"]["resourceVersion"], left)

    def forget(self, child: KubeObject) -> None:
        """Drop what is remembered about a child that is gone."""
        self._compared.pop(child["metadata"]["uid"], None)

    def _surplus(
        self, service: ScoringService, wanted: Sequence[KubeObject], leaving: Sequence[str]
    ) -> list[tuple[Kind, KubeObject]]:
        """The children that are no longer wanted."""
        names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted}
        return [
            (kind, child)
            for kind, child in self._store.children(service.uid)
            if (kind.kind, child["metadata"]["name"]) not in names
            and "deletionTimestamp" not in child["metadata"]
            and child["metadata"].get("labels", {}).get(VERSION_LABEL) not in leaving
        ]

    async def _delete(self, kind: Kind, child: KubeObject) -> None:
        await self._kube.delete(kind, child)
        self._store.remove(kind, child)
        self.forget(child)


def _digest(manifest: KubeObject) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


async def _all(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all coroutines, run at once; the first error is raised after all have ended."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise next((error for error in errors if isinstance(error, OperatorError)), errors[0])
    return [result for result in results if not isinstance(result, BaseException)]
