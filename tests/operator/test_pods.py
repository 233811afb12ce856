"""Root causes read from pods, as kubelet and scheduler of Kubernetes 1.36 write them.

| the pod                                             | reason             |
|-----------------------------------------------------|--------------------|
| fits on no node; its claim is missing               | Unschedulable      |
| left a termination message, now or in its last run  | that of the message|
| was killed for memory                               | ModelTooLarge      |
| image cannot be pulled, in all its spellings        | ImagePullFailed    |
| cannot be configured, cannot mount                  | ConfigError        |
| ends without a word                                 | CrashLoop          |
| was evicted                                         | PodRejected        |
| answered once and no longer does                    | ProbeFailing       |
| is on its way, is ready, is being deleted           | none               |
"""

import datetime as dt
from typing import Any

import pytest

from scoring_operator.errors import Reason
from scoring_operator.pods import is_stuck_before_start, mount_cause, pull_message, root_cause, stage
from scoring_operator.scheduling import unschedulable_message

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
LONG_AGO = "2026-11-21T11:00:00Z"
JUST_NOW = "2026-11-21T11:59:58Z"
NOT_FOUND = '{"reason": "ModelNotFound", "message": "s3://models/iris/4/ does not exist: check model.uri."}\n'


def condition(kind: str, status: str, since: str = LONG_AGO, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": since, **more}


def container(name: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "sklearn:1", "state": state, "lastState": {}, "restartCount": 0, **more}


def pod(*containers: dict[str, Any], conditions: tuple[dict[str, str], ...] = (), **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "iris-default-abc", "namespace": "team", "uid": "p"},
        "spec": {
            "initContainers": [{"name": "fetch", "resources": {"limits": {"memory": "512Mi"}}}],
            "containers": [{"name": "runtime", "resources": {"limits": {"memory": "1Gi"}}}],
        },
        "status": {
            "conditions": [condition("PodScheduled", "True"), *conditions],
            "initContainerStatuses": [found for found in containers if found["name"] == "fetch"],
            "containerStatuses": [found for found in containers if found["name"] != "fetch"],
            **status,
        },
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


RUNNING = {"running": {"startedAt": LONG_AGO}}
UNSCHEDULABLE = {
    "metadata": {"name": "p", "uid": "p"},
    "status": {
        "conditions": [
            condition(
                "PodScheduled",
                "False",
                reason="Unschedulable",
                message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            )
        ]
    },
}
CAUSES = {
    "no node": (UNSCHEDULABLE, Reason.UNSCHEDULABLE, "0/1 nodes have nvidia.com/gpu"),
    "message of the fetch": (
        pod(container("fetch", ended(4, message=NOT_FOUND))),
        Reason.MODEL_NOT_FOUND,
        "s3://models/iris/4/ does not exist: check model.uri",
    ),
    "message of the last run, behind the back-off": (
        pod(container("runtime", waiting("CrashLoopBackOff", "back-off 10s"), lastState=ended(3, message=NOT_FOUND))),
        Reason.MODEL_NOT_FOUND,
        "s3://models/iris/4/ does not exist: check model.uri",
    ),
    "message of the last run, while it is tried again": (
        pod(container("runtime", RUNNING, lastState=ended(3, message=NOT_FOUND))),
        Reason.MODEL_NOT_FOUND,
        "s3://models/iris/4/ does not exist: check model.uri",
    ),
    "a reason of a newer runtime": (
        pod(container("runtime", ended(3, message='{"reason": "Melted", "message": "it melted"}'))),
        Reason.CRASH_LOOP,
        "it melted",
    ),
    "killed for memory": (
        pod(container("runtime", waiting("CrashLoopBackOff"), lastState=ended(137, "OOMKilled"))),
        Reason.MODEL_TOO_LARGE,
        "the container runtime was killed while loading the model: it needs more than its memory limit of 1Gi; "
        "raise resources.limits.memory",
    ),
    "killed for memory while fetching": (
        pod(container("fetch", ended(137, "OOMKilled"))),
        Reason.MODEL_TOO_LARGE,
        "the container fetch was killed while fetching the model: it needs more than its memory limit of 512Mi; "
        "raise resources.limits.memory",
    ),
    "no image": (
        pod(container("fetch", waiting("ErrImagePull", "rpc error: code = NotFound desc = sklearn:1: not found"))),
        Reason.IMAGE_PULL_FAILED,
        "image sklearn:1 cannot be pulled: not found",
    ),
    "no such image name": (
        pod(container("fetch", waiting("InvalidImageName", "couldn't parse image name"))),
        Reason.IMAGE_PULL_FAILED,
        "image sklearn:1 cannot be pulled: couldn't parse image name",
    ),
    "no Secret": (
        pod(container("fetch", waiting("CreateContainerConfigError", 'secret "nowhere" not found'))),
        Reason.CONFIG_ERROR,
        'the container fetch cannot be started: secret "nowhere" not found',
    ),
    "ends without a word": (
        pod(container("runtime", waiting("CrashLoopBackOff"), lastState=ended(1), restartCount=2)),
        Reason.CRASH_LOOP,
        "the container runtime ended 3 times (exit code 1) while loading the model: "
        "see `kubectl logs iris-default-abc -c runtime --previous`",
    ),
    "evicted": (
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. "),
        Reason.POD_REJECTED,
        "Evicted: The node was low on resource: memory",
    ),
    "no longer answers": (
        pod(container("runtime", RUNNING, started=True, ready=False), conditions=(condition("Ready", "False"),)),
        Reason.PROBE_FAILING,
        "the pod was ready and no longer answers its readiness probe on /readyz",
    ),
}
FINE = {
    "new": pod(),
    "starting": pod(container("fetch", waiting("PodInitializing")), container("runtime", waiting("PodInitializing"))),
    "fetching": pod(container("fetch", RUNNING)),
    "fetched": pod(container("fetch", ended(0, "Completed")), container("runtime", RUNNING, started=False)),
    "just started": pod(
        container("runtime", RUNNING, started=True, ready=False), conditions=(condition("Ready", "False", JUST_NOW),)
    ),
    "ready after a crash": pod(
        container("runtime", RUNNING, started=True, ready=True, lastState=ended(1)),
        conditions=(condition("Ready", "True"),),
    ),
    "being deleted": {**UNSCHEDULABLE, "metadata": {"name": "p", "deletionTimestamp": LONG_AGO}},
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_cause_is_found(case: str) -> None:
    given, reason, message = CAUSES[case]
    cause = root_cause([given], NOW)
    assert cause is not None
    assert (cause.reason, cause.message) == (reason, message)


@pytest.mark.parametrize("case", FINE)
def test_nothing_is_said_of_a_pod_that_is_well(case: str) -> None:
    assert root_cause([FINE[case]], NOW) is None


def test_of_several_causes_the_one_that_needs_somebody_is_told() -> None:
    failed = CAUSES["message of the fetch"][0]
    for order in ([UNSCHEDULABLE, failed], [failed, UNSCHEDULABLE], [FINE["new"], failed]):
        cause = root_cause(order, NOW)
        assert cause is not None
        assert cause.reason is Reason.MODEL_NOT_FOUND


def test_the_stage_is_that_of_the_last_pod() -> None:
    assert stage([UNSCHEDULABLE, FINE["fetching"]]) == "waiting for a node"
    assert stage([FINE["fetched"], FINE["fetching"]]) == "fetching the model"
    assert stage([FINE["fetched"]]) == "loading the model"
    assert stage([FINE["starting"]]) == "starting"
    assert stage([FINE["ready after a crash"]]) == ""
    assert stage([]) == ""


def test_only_a_pod_that_cannot_start_has_its_events_read() -> None:
    stuck = pod(container("fetch", waiting("PodInitializing")), container("runtime", waiting("PodInitializing")))
    assert is_stuck_before_start(stuck, NOW)
    stuck["status"]["conditions"] = [condition("PodScheduled", "True", JUST_NOW)]
    assert not is_stuck_before_start(stuck, NOW)
    assert not is_stuck_before_start(FINE["fetching"], NOW)
    assert not is_stuck_before_start(UNSCHEDULABLE, NOW)


def test_the_newest_warning_about_a_mount_is_told() -> None:
    events = [
        {"reason": "FailedMount", "note": "old", "eventTime": "2026-11-21T11:00:00Z"},
        {
            "reason": "FailedMount",
            "note": 'MountVolume.SetUp failed: secret "x" not found.',
            "series": {"lastObservedTime": "2026-11-21T11:30:00Z"},
        },
        {"reason": "Scheduled", "note": "assigned", "eventTime": "2026-11-21T11:59:00Z"},
    ]
    cause = mount_cause(events)
    assert cause is not None
    assert cause.message == 'MountVolume.SetUp failed: secret "x" not found'
    assert mount_cause(events[2:]) is None


@pytest.mark.parametrize(
    ("kubelet", "message"),
    [
        (
            'Back-off pulling image "a/b:1": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack '
            'image "a/b:1": failed to resolve reference "a/b:1": a/b:1: not found',
            "image a/b:1 cannot be pulled: not found",
        ),
        (
            'failed to pull and unpack image "docker.io/a/b:1": failed to resolve reference "docker.io/a/b:1": failed '
            'to do request: Head "https://registry-1.docker.io/v2/a/b/manifests/1": dial tcp: no such host',
            'image a/b:1 cannot be pulled: Head "https://registry-1.docker.io/v2/a/b/manifests/1": dial tcp: '
            "no such host",
        ),
        ('Back-off pulling image "a/b:1"', "image a/b:1 cannot be pulled"),
        ("pull access denied", "image a/b:1 cannot be pulled: pull access denied"),
    ],
)
def test_the_wrapping_of_a_failed_pull_is_taken_off(kubelet: str, message: str) -> None:
    assert pull_message("a/b:1", kubelet) == message


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No "
            "preemption victims found for incoming pod.",
            "0/1 nodes have nvidia.com/gpu",
        ),
        (
            "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory. no new claims to deallocate, "
            "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.",
            "0/2 nodes have enough cpu, 0/2 nodes have enough memory",
        ),
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
            "2 Insufficient cpu.",
            "0/3 nodes can take the pod: 1 with the taint node-role.kubernetes.io/control-plane, 2 lack cpu",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            "0/1 nodes can take the pod: 1 node(s) didn't match Pod's node affinity/selector",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "no-such-claim" not found. not found',
            'persistentvolumeclaim "no-such-claim" not found',
        ),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
        ("", "the scheduler found no node for the pod and gave no reason"),
    ],
)
def test_the_schedulers_account_in_short(scheduler: str, message: str) -> None:
    assert unschedulable_message(scheduler) == message
