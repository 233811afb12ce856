"""What the routers of a service count of its versions: asked while a rollout goes on, and only then.

Each pod of a router counts for itself, from its own start. So what counts here is by how much its numbers have grown
since it was last asked: a pod that does not answer is caught up with at the next time, one that has started anew begins
at nothing, and the sum is that of all pods. The counting of an operator begins when it begins.
"""

import asyncio
import datetime as dt
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from scoring_operator import naming
from scoring_operator.envoy import version_of_cluster
from scoring_operator.kinds import POD
from scoring_operator.kube import Kube, KubeObject
from scoring_operator.resources.environment import METRICS_PORT
from scoring_operator.rollout import Counts, Measured, Met, State
from scoring_operator.spec import ScoringService

_WANTED = r"^cluster\.[^.]+\.(upstream_rq_(\dxx|time)|grpc\.\d+)$"
METRICS_QUERY = f"/metrics?usedonly&filter={quote(_WANTED, safe='')}"
"""Only what is read here: the whole page of a router with many versions is long."""
_ANSWERS = "envoy_cluster_upstream_rq_xx_total"  # the parser gives every counter this end
_CALLS = re.compile(r"envoy_cluster_grpc_(\d+)_total")
_FAILED_CALLS = frozenset({"2", "4", "13", "14", "15"})
"""The statuses of gRPC that are no fault of the caller: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS
(https://grpc.io/docs/guides/status-codes/; RESOURCE_EXHAUSTED is a message that is too large)."""
_DURATIONS = "envoy_cluster_upstream_rq_time"
_CLUSTER, _CLASS = "envoy_cluster_name", "envoy_response_code_class"
_TIMEOUT = aiohttp.ClientTimeout(total=3)
_LONGEST_PAGE = 8 * 1024 * 1024

ReadPage = Callable[[str], Awaitable[str]]
"""The text at a URL. Raises OSError when there is none."""
ByVersion = Mapping[str, Counts]


class PageError(OSError):
    """A page could not be read; the message says why."""


async def read_page(url: str) -> str:
    """The text at `url`. Raises PageError."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as response:
            if response.status != 200:
                raise PageError(f"HTTP {response.status}")
            return (await response.content.read(_LONGEST_PAGE)).decode()
    except TimeoutError:
        raise PageError("no answer in time") from None
    except (aiohttp.ClientError, UnicodeDecodeError) as error:
        raise PageError(str(error) or type(error).__name__) from None


def read_counts(page: str, versions: Iterable[str]) -> dict[str, Counts]:
    """What a page of Envoy's metrics says of these versions, HTTP and gRPC together.

    Raises ValueError for what are no metrics.
    """
    known = list(versions)
    found: dict[str, Counts] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            cluster = sample.labels.get(_CLUSTER, "")
            version = version_of_cluster(cluster, known)
            if version is not None:
                counted = _counted(sample.name, sample.labels, sample.value)
                if sample.name == _ANSWERS and cluster != version:
                    counted = replace(counted, errors=0)  # calls of gRPC fail by a status of their own
                found[version] = found.get(version, Counts()).plus(counted)
    return {version: replace(counts, latency=_by_bucket(counts.latency)) for version, counts in found.items()}


def _counted(name: str, labels: Mapping[str, str], value: float) -> Counts:
    """What one line of the metrics adds; durations still as Envoy writes them, each bound with all below it."""
    if name == _ANSWERS:
        return Counts(int(value), int(value) if labels.get(_CLASS) == "5" else 0)
    call = _CALLS.fullmatch(name)
    if call:
        return Counts(errors=int(value) if call[1] in _FAILED_CALLS else 0)
    if name == f"{_DURATIONS}_bucket":
        return Counts(latency={float(labels["le"]): int(value)})
    return Counts()


def _by_bucket(cumulative: Mapping[float, int]) -> dict[float, int]:
    before, buckets = 0, {}
    for bound in sorted(cumulative):
        buckets[bound] = max(cumulative[bound] - before, 0)
        before = cumulative[bound]
    return buckets


def growth(before: ByVersion, after: ByVersion) -> ByVersion:
    """By how much the counts of one pod have grown; all of it where they have shrunk, for then it started anew."""
    if any(after.get(name, Counts()).requests < counts.requests for name, counts in before.items()):
        return after
    return {name: _difference(before.get(name, Counts()), counts) for name, counts in after.items()}


def _difference(before: Counts, after: Counts) -> Counts:
    return Counts(
        after.requests - before.requests,
        max(after.errors - before.errors, 0),
        {bound: max(count - before.latency.get(bound, 0), 0) for bound, count in after.latency.items()},
    )


@dataclass
class _Watch:
    """What was counted during one rollout since this operator looks at it."""

    rollout: tuple[str, str, dt.datetime]
    step: tuple[int, dt.datetime]
    since: dt.datetime
    """When the counting of the step began."""
    seen_at: dt.datetime | None = None
    next_look: float = 0.0
    listed: frozenset[str] = frozenset()
    """The pods that there were at the last look."""
    last: dict[str, ByVersion] = field(default_factory=dict)
    """Uid of a pod → its counts when it last answered."""
    new: Counts = field(default_factory=Counts)
    old: Counts = field(default_factory=Counts)
    problem: str = ""


class RouterMetrics:
    """Asks the routers of services with a rollout, and sums up what they tell."""

    def __init__(self, kube: Kube, steady: Callable[[], float], read: ReadPage = read_page) -> None:
        self._kube = kube
        self._steady = steady
        self._read = read
        self._watches: dict[str, _Watch] = {}
        """Uid of the service → what was counted."""

    async def look(self, service: ScoringService, state: State, every: float, now: dt.datetime) -> Measured:
        """What was counted during the rollout at `state`; the routers are asked if that was `every` seconds ago.

        Raises what the API server answers when the pods cannot be listed.
        """
        watch = self._watch(service, state, now)
        total = _Total(state)
        if self._steady() >= watch.next_look:
            await self._ask(service, total, watch)
            watch.next_look, watch.seen_at = self._steady() + every * 0.9, now  # a timer is never quite on time
        return Measured(watch.since, watch.new, watch.old, total.met, total.grown, watch.problem)

    def forget(self, uid: str) -> None:
        """Drop what was counted of a service whose rollout is over, or which is gone."""
        self._watches.pop(uid, None)

    def _watch(self, service: ScoringService, state: State, now: dt.datetime) -> _Watch:
        rollout, step = (state.old, state.new, state.started), (state.share, state.since)
        watch = self._watches.get(service.uid)
        if watch is None or watch.rollout != rollout:
            watch = self._watches[service.uid] = _Watch(rollout, step, since=now)
        elif watch.step != step:
            watch.step, watch.new, watch.since = step, Counts(), watch.seen_at or now
        return watch

    async def _ask(self, service: ScoringService, total: "_Total", watch: _Watch) -> None:
        selector = naming.selector_text(naming.router_selector(service.name))
        listing = await self._kube.list(POD, service.namespace, selector)
        pods = [pod for pod in listing.items if pod.get("status", {}).get("podIP")]
        versions = [version.name for version in service.versions]
        answers = await asyncio.gather(*(self._counts(pod, versions) for pod in pods))
        for pod, answer in zip(pods, answers, strict=True):
            uid = pod["metadata"]["uid"]
            if isinstance(answer, str):
                continue
            before = watch.last.get(uid)
            if before is None and watch.seen_at is not None and uid not in watch.listed:
                before = {}  # it started since the last look: all that it counted is new
            if before is not None:
                total.add(growth(before, answer))
            watch.last[uid] = answer
        watch.listed = frozenset(pod["metadata"]["uid"] for pod in listing.items)
        watch.last = {uid: counts for uid, counts in watch.last.items() if uid in watch.listed}
        watch.new, watch.old = watch.new.plus(total.new), watch.old.plus(total.old)
        watch.problem = _problem(answers)

    async def _counts(self, pod: KubeObject, versions: Sequence[str]) -> ByVersion | str:
        """What a pod counted, or why it does not tell."""
        address = str(pod["status"]["podIP"])
        host = f"[{address}]" if ":" in address else address
        try:
            return read_counts(await self._read(f"http://{host}:{METRICS_PORT}{METRICS_QUERY}"), versions)
        except (OSError, ValueError) as error:
            return f"{pod['metadata']['name']}: {error}"


@dataclass
class _Total:
    """The sum of what all pods counted."""

    state: State
    new: Counts = field(default_factory=Counts)
    old: Counts = field(default_factory=Counts)
    all: int = 0

    @property
    def met(self) -> Met:
        """How many requests met the new version."""
        return Met(self.new.requests, self.new.errors, self.all)

    @property
    def grown(self) -> ByVersion:
        """What was counted of the two versions."""
        return {self.state.new: self.new, self.state.old: self.old}

    def add(self, grown: ByVersion) -> None:
        self.new = self.new.plus(grown.get(self.state.new, Counts()))
        self.old = self.old.plus(grown.get(self.state.old, Counts()))
        self.all += sum(counts.requests for counts in grown.values())


def _problem(answers: Sequence[ByVersion | str]) -> str:
    """What to say where not one router answers."""
    silent = [answer for answer in answers if isinstance(answer, str)]
    if len(silent) < len(answers):
        return ""
    return f"no router tells its metrics ({'; '.join(silent[:2]) or 'it has no pods'})"
