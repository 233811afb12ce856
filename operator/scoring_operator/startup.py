"""Waiting for a cluster that the operator can work in, and saying every few seconds what is missing."""

import asyncio
import logging

from scoring_operator.control import ControlLoop
from scoring_operator.kinds import SCORING_SERVICE
from scoring_operator.kube import ApiError, ApiUnavailableError, ForbiddenError, NotFoundError, UnauthorizedError

logger = logging.getLogger(__name__)

ASK_EVERY = 10.0
"""Seconds between two tries."""


async def first_listing(loop: ControlLoop) -> None:
    """List everything; as long as that is impossible, log why and try again."""
    while True:
        try:
            await loop.resync()
        except ApiError as error:
            logger.warning("%s; trying again every %.0f s", what_is_missing(error), ASK_EVERY)
            await asyncio.sleep(ASK_EVERY)
        else:
            return


def what_is_missing(error: ApiError) -> str:
    """What has to be done before the operator can work, in one sentence."""
    if isinstance(error, NotFoundError):
        return (
            f"the cluster does not know {SCORING_SERVICE.plural}.{SCORING_SERVICE.group}: "
            "install the CustomResourceDefinition (kubectl apply -f crds/, or the Helm chart)"
        )
    if isinstance(error, ForbiddenError):
        return f"the operator lacks a permission ({error}): bind its ClusterRole to its service account"
    if isinstance(error, UnauthorizedError):
        return "the cluster refuses the operator's credentials: renew the kubeconfig or the service account's token"
    if isinstance(error, ApiUnavailableError):
        return str(error)
    return f"the cluster cannot be listed ({error})"
