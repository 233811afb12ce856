"""The scheduler's account of why a pod found no node, in the words a data scientist needs."""

import re

_COUNTED = re.compile(r"0/(?P<total>\d+) nodes are available:?\s*(?P<reasons>.*)", re.DOTALL)
_INSUFFICIENT = re.compile(r"(?P<count>\d+) Insufficient (?P<resource>\S+)")
_TAINT = re.compile(r"(?P<count>\d+) node\(s\) had untolerated taint(?:\(s\))?\s*(?P<taint>.*)")
_NOT_FOUND_TWICE = re.compile(r"(?<=not found)\. not found$")
_PREEMPTION = re.compile(r"[,.]?\s*(preemption:|no new claims to deallocate).*", re.DOTALL)


def unschedulable_message(scheduler: str) -> str:
    """One clause from the message of a PodScheduled condition.

    What every node lacks comes as `0/3 nodes have nvidia.com/gpu` (an extended resource: mostly no node has any) or
    `0/3 nodes have enough cpu`; a mixture as `0/3 nodes can take the pod: 2 lack memory, 1 has the taint …`. Whatever
    is not recognised is kept as the scheduler said it.
    """
    text = _PREEMPTION.sub("", scheduler.strip()).rstrip(". ")
    match = _COUNTED.fullmatch(text)
    if match is None:
        return text or "the scheduler found no node for the pod and gave no reason"
    total = int(match["total"])
    everywhere, somewhere = [], []
    for reason in _reasons(match["reasons"]):
        insufficient = _INSUFFICIENT.fullmatch(reason)
        if not reason[0].isdigit():
            everywhere.append(_NOT_FOUND_TWICE.sub("", reason))  # not a matter of nodes, such as a missing claim
        elif insufficient and int(insufficient["count"]) == total:
            resource = insufficient["resource"]
            everywhere.append(f"0/{total} nodes have {resource if '/' in resource else f'enough {resource}'}")
        else:
            somewhere.append(_shortened(reason))
    if everywhere:
        return ", ".join([*everywhere, *somewhere])
    return f"0/{total} nodes can take the pod" + (f": {', '.join(somewhere)}" if somewhere else "")


def _reasons(text: str) -> list[str]:
    """The scheduler's reasons, which are separated by commas outside of braces."""
    return [part.strip() for part in re.split(r",\s+(?![^{]*\})", text.strip()) if part.strip()]


def _shortened(reason: str) -> str:
    insufficient, taint = _INSUFFICIENT.fullmatch(reason), _TAINT.fullmatch(reason)
    if insufficient:
        return f"{insufficient['count']} lack {insufficient['resource']}"
    if taint:
        return f"{taint['count']} with the taint {taint['taint'].strip('{}').strip().rstrip(':')}"
    return reason
