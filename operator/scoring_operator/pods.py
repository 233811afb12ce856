"""The root cause of a pod that is not ready, read from the pod (and, for a stuck mount, from its events): pure.

A symptom that hides its cause is never reported while the cause is known: a CrashLoopBackOff gives way to the message
of the last run, and what one of several pods says clearly counts more than what another one is silent about.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scoring_operator.conditions import Cause
from scoring_operator.errors import Reason
from scoring_operator.scheduling import unschedulable_message

Pod = Mapping[str, Any]

_PULLING = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_MISCONFIGURED = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NOT_YET_STARTED = frozenset({"", "PodInitializing", "ContainerCreating"})
_MOUNTING = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_KNOWN_REASONS = frozenset(Reason)
_LONGEST = 600
_PULL_WRAPPING = re.compile(
    r"^((Back-off pulling image \S+|ErrImagePull|failed to pull and unpack image \S+|failed to do request"
    r"|failed to resolve (reference|image) \S+|unexpected status from HEAD request to \S+)(:|$)"
    r"|rpc error: code = \w+ desc =)\s*"
)
_SILENT_AFTER = dt.timedelta(seconds=15)
_STUCK_AFTER = dt.timedelta(seconds=8)

_STAGE = {"fetch": "fetching the model", "runtime": "loading the model"}


def root_cause(pods: Iterable[Pod], now: dt.datetime) -> Cause | None:
    """What keeps `pods` (of one revision) from becoming ready; None while nothing is known to be wrong."""
    causes = [cause for cause in (_pod_cause(pod, now) for pod in pods) if cause is not None]
    return max(causes, key=lambda cause: cause.stalls, default=None)


def stage(pods: Sequence[Pod]) -> str:
    """How far the least advanced pod of a revision is, such as `loading the model`; empty when that is not known."""
    stages = [_stage(pod) for pod in pods if not is_ready(pod)]
    order = ["waiting for a node", "starting", *_STAGE.values()]
    return min(stages, key=order.index, default="")


def is_ready(pod: Pod) -> bool:
    """Whether the pod answers requests."""
    return _condition(pod, "Ready").get("status") == "True" and not is_ending(pod)


def is_ending(pod: Pod) -> bool:
    """Whether the pod was told to end."""
    return "deletionTimestamp" in pod["metadata"]


def is_stuck_before_start(pod: Pod, now: dt.datetime) -> bool:
    """Whether a node took the pod some seconds ago and no container of it started since: its events may say why."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "True" or any(_started(container) for container in _containers(pod)):
        return False
    return _is_past(scheduled.get("lastTransitionTime"), now, _STUCK_AFTER)


def mount_cause(events: Iterable[Mapping[str, Any]]) -> Cause | None:
    """What the newest warning among a pod's events (events.k8s.io/v1) says about a volume that cannot be mounted."""
    for event in sorted(events, key=_last_seen, reverse=True):
        if event.get("reason") in _MOUNTING:
            return Cause(Reason.CONFIG_ERROR, _sentence(str(event.get("note", ""))))
        if event.get("reason") == "FailedCreatePodSandBox":
            return Cause(Reason.CRASH_LOOP, _sentence(str(event.get("note", ""))))
    return None


def pull_message(image: str, kubelet: str) -> str:
    """Why an image cannot be pulled, without the wrapping that kubelet and the container runtime put around it."""
    cause, before = kubelet, ""
    while cause != before:
        before, cause = cause, _PULL_WRAPPING.sub("", cause).removeprefix(f"{image}: ").strip()
    return f"image {image} cannot be pulled" + (f": {cause}" if cause else "")


def _pod_cause(pod: Pod, now: dt.datetime) -> Cause | None:
    if is_ready(pod) or is_ending(pod):
        return None
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") in ("Unschedulable", "SchedulingGated"):
        return Cause(Reason.UNSCHEDULABLE, unschedulable_message(str(scheduled.get("message", ""))))
    for container in _containers(pod):
        cause = _container_cause(pod, container)
        if cause is not None:
            return cause
        if container["name"] == "runtime" and _stopped_answering(pod, container, now):
            return Cause(Reason.PROBE_FAILING, "the pod was ready and no longer answers its readiness probe on /readyz")
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        text = _sentence(str(status.get("message", ""))) or "Kubernetes ended the pod"
        return Cause(Reason.POD_REJECTED, f"{status.get('reason', 'Failed')}: {text}")
    return None


def _container_cause(pod: Pod, container: Mapping[str, Any]) -> Cause | None:
    state, last = container.get("state", {}), container.get("lastState", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), _sentence(str(waiting.get("message", "")))
    if reason in _PULLING:
        return Cause(Reason.IMAGE_PULL_FAILED, pull_message(str(container["image"]), message))
    if reason in _MISCONFIGURED:
        return Cause(Reason.CONFIG_ERROR, f"the container {container['name']} cannot be started: {message or reason}")
    for ended in (state.get("terminated"), last.get("terminated")):
        if ended and (ended.get("exitCode") or ended.get("reason") == "OOMKilled"):
            return _ended(pod, container, ended)
    return None


def _stopped_answering(pod: Pod, container: Mapping[str, Any], now: dt.datetime) -> bool:
    """Whether a container that has been up for some time fails its readiness probe."""
    if "running" not in container.get("state", {}) or not container.get("started") or container.get("ready"):
        return False
    moments = (container["state"]["running"].get("startedAt"), _condition(pod, "Ready").get("lastTransitionTime"))
    return all(_is_past(moment, now, _SILENT_AFTER) for moment in moments)


def _is_past(moment: Any, now: dt.datetime, age: dt.timedelta) -> bool:
    return bool(moment) and now - dt.datetime.fromisoformat(str(moment)) > age


def _ended(pod: Pod, container: Mapping[str, Any], ended: Mapping[str, Any]) -> Cause:
    """Why a container ended: its own words if it left some, else what Kubernetes knows."""
    said = _termination_message(str(ended.get("message", "")))
    if said is not None:
        return said
    name = container["name"]
    doing = _STAGE.get(name, f"running {name}")
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, name)
        return Cause(
            Reason.MODEL_TOO_LARGE,
            f"the container {name} was killed while {doing}: it needs more than its memory limit"
            f"{f' of {limit}' if limit else ''}; raise resources.limits.memory",
        )
    how = f"exit code {ended.get('exitCode')}" + (
        f", {ended['reason']}" if ended.get("reason") not in (None, "Error") else ""
    )
    times = f" {container['restartCount'] + 1} times" if container.get("restartCount") else ""
    return Cause(
        Reason.CRASH_LOOP,
        f"the container {name} ended{times} ({how}) while {doing}: see `kubectl logs {pod['metadata']['name']} "
        f"-c {name} --previous`",
    )


def _termination_message(text: str) -> Cause | None:
    """The runtime's own account: one line of JSON with reason and message (docs/reference.md)."""
    try:
        said = json.loads(text)
        reason, message = str(said["reason"]), _sentence(str(said["message"]))
    except (ValueError, TypeError, KeyError):
        return None
    return Cause(Reason(reason) if reason in _KNOWN_REASONS else Reason.CRASH_LOOP, message)


def _stage(pod: Pod) -> str:
    if _condition(pod, "PodScheduled").get("status") != "True":
        return "waiting for a node"
    for container in _containers(pod):
        if "running" in container.get("state", {}):
            return _STAGE.get(container["name"], "starting")
    return "starting"


def _started(container: Mapping[str, Any]) -> bool:
    waiting = container.get("state", {}).get("waiting")
    return waiting is None or waiting.get("reason", "") not in _NOT_YET_STARTED or bool(container.get("restartCount"))


def _containers(pod: Pod) -> list[Mapping[str, Any]]:
    """The statuses of the containers, in the order in which they run."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _condition(pod: Pod, kind: str) -> Mapping[str, Any]:
    found = pod.get("status", {}).get("conditions") or []
    return next((condition for condition in found if condition["type"] == kind), {})


def _memory_limit(pod: Pod, name: str) -> str:
    spec = pod.get("spec", {})
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        if container["name"] == name:
            return str(container.get("resources", {}).get("limits", {}).get("memory", ""))
    return ""


def _last_seen(event: Mapping[str, Any]) -> str:
    series = event.get("series") or {}
    seen = series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime")
    return str(seen or "")


def _sentence(text: str) -> str:
    """One line without a full stop, of bearable length."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
