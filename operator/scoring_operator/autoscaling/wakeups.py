"""Whether anybody calls a version that sleeps, or has stopped to call one that is awake: pure.

The router counts, for each version, the requests it sent on and its tries to reach a pod. A request that waits for a
pod is tried again every half second at most, so the count grows as long as it waits; a count that stays the same for a
while means that nobody calls.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scoring_operator.envoy.clusters import GRPC_SUFFIX
from scoring_operator.spec import Autoscaling

QUERY = r"filter=^cluster\.[^.]%2B\.upstream_(rq_total|rq_retry|cx_connect_fail)$"
"""Which of Envoy's numbers are asked for (https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--stats)."""

_NUMBER = re.compile(r"^cluster\.([^.\s]+)\.upstream_\w+: (\d+)$", re.MULTILINE)


def calls(text: str) -> dict[str, int]:
    """Version → how often it was called or looked for, from a router's numbers."""
    found: dict[str, int] = {}
    for cluster, number in _NUMBER.findall(text):
        version = cluster.removesuffix(GRPC_SUFFIX)
        found[version] = found.get(version, 0) + int(number)
    return found


@dataclass(frozen=True)
class Attention:
    """What the routers told of one version so far."""

    counts: Mapping[str, int]
    """Router's address → its count when last asked."""
    since: float
    """When the version was last known to be called, or not known not to be; seconds of a steady clock."""
    called: bool = False
    """Whether it was called between the last two questions."""


def attended(
    before: Attention | None, routers: Mapping[str, int | None], moment: float, *, busy: bool = False
) -> Attention:
    """What is known now; `routers` has each router's count, None for one that did not tell.

    A router that is new, starts anew or does not tell may have been called: the version is not taken for idle then.
    Only a count that has grown wakes a version. `busy`: its own pods have requests, or a rollout needs them.
    """
    told = {address: count for address, count in routers.items() if count is not None}
    known = before.counts if before is not None else {}
    called = any(count > known[address] for address, count in told.items() if address in known)
    sure = bool(told) and len(told) == len(routers) and told.keys() <= known.keys()
    quiet = sure and not called and not busy and all(told[address] == known[address] for address in told)
    kept = {**{address: count for address, count in known.items() if address in routers}, **told}
    since = before.since if before is not None and quiet else moment
    return Attention(kept, since, called)


def with_sleep(bounds: Autoscaling, current: int, wanted: int, attention: Attention, moment: float) -> int:
    """`wanted` pods, but none when nobody has called for the idle time, and one at least when somebody calls."""
    if bounds.min_replicas > 0:
        return wanted
    if current == 0:
        return max(wanted, 1) if attention.called else 0
    return 0 if moment - attention.since >= bounds.idle_seconds else wanted
