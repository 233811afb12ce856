"""Tells the pods of a router that their files are new.

kubelet refreshes a mounted ConfigMap only every minute or so, but at once when something about the pod changes: so each
pod gets an annotation with the hash of the files. It is written through the pods' status, which needs no right to
change what a pod runs. Where even that is forbidden, the files arrive a minute late, and the log says so.
"""

import hashlib
import json
import logging
from collections.abc import Mapping

from scoring_operator import naming
from scoring_operator.kinds import POD
from scoring_operator.kube import ForbiddenError, Kube, KubeObject, NotFoundError
from scoring_operator.spec import ScoringService

logger = logging.getLogger(__name__)

CONFIGURATION = "scoring.dev/router-configuration"
REFRESH_SECONDS = 120.0
"""After this kubelet has refreshed a ConfigMap by itself."""


class Announcer:
    """Remembers what each router was told."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._told: dict[str, str] = {}
        """Uid of the service → hash of the files."""

    async def announce(self, service: ScoringService, children: list[KubeObject]) -> float:
        """Tell the router of `service`, if it is among `children`, unless it has been told of these files.

        Returns the seconds that it may take beyond the ordinary until the router goes by them.
        """
        name = naming.router_name(service.name)
        for child in children:
            if child["kind"] == "ConfigMap" and child["metadata"]["name"] == name:
                digest = files_digest(child["data"])
                if self._told.get(service.uid) != digest:
                    told = await self._tell(service, digest)
                    self._told[service.uid] = digest
                    return 0.0 if told else REFRESH_SECONDS
        return 0.0

    def forget(self, uid: str) -> None:
        """Drop what is remembered about a service that is gone."""
        self._told.pop(uid, None)

    async def _tell(self, service: ScoringService, digest: str) -> bool:
        selector = naming.selector_text(naming.router_selector(service.name))
        pods = await self._kube.list(POD, service.namespace, selector)
        for pod in pods.items:
            metadata = pod["metadata"]
            if (metadata.get("annotations") or {}).get(CONFIGURATION) == digest:
                continue
            try:
                await self._kube.annotate(POD, pod, {CONFIGURATION: digest})
            except NotFoundError:
                continue
            except ForbiddenError as error:
                logger.warning("a router hears of its new files a minute late: %s", error)
                return False
        return True


def files_digest(files: Mapping[str, str]) -> str:
    """A hash of the files of a router."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]
