"""Whether a live object is what is wanted.

| live compared with wanted                       | difference? |
|-------------------------------------------------|-------------|
| has more: defaults, status, others' fields      | no          |
| other value, missing field, missing item        | yes         |
| atomic list longer, shorter, in another order   | yes         |
| keyed list with another's item, other order     | no          |
| quantity in another spelling                    | no          |
| field the operator owns and no longer wants     | yes         |
| the same field owned by somebody else           | no          |
"""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.diff import differences

WANTED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "iris-default", "labels": {"app.kubernetes.io/name": "scoring-runtime"}},
    "spec": {
        "replicas": 0,
        "template": {
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "runtime",
                        "args": ["serve"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "ports": [{"containerPort": 8080, "name": "http"}],
                        "resources": {"limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}},
                        "volumeMounts": [{"mountPath": "/mnt/model", "name": "model"}],
                    }
                ],
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "volumes": [{"name": "model", "emptyDir": {}}],
            }
        },
    },
}
OWNED = {
    "f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:spec": {
                "f:automountServiceAccountToken": {},
                "f:containers": {
                    'k:{"name":"runtime"}': {
                        ".": {},
                        "f:name": {},
                        "f:args": {},
                        "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                        "f:ports": {'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                    }
                },
                "f:volumes": {'k:{"name":"model"}': {".": {}, "f:emptyDir": {}}},
            }
        },
    },
}


def live() -> dict[str, Any]:
    found = copy.deepcopy(WANTED)
    found["metadata"]["managedFields"] = [
        {"manager": "scoring-operator", "operation": "Apply", "fieldsV1": copy.deepcopy(OWNED)}
    ]
    return found


def container(found: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return first


def test_what_was_applied_is_as_wanted() -> None:
    assert differences(live(), WANTED) == []


def test_what_others_and_the_api_server_add_is_theirs() -> None:
    found = live()
    found["status"] = {"replicas": 3}
    found["metadata"].update(uid="u", resourceVersion="7", annotations={"team": "a"})
    found["spec"]["strategy"] = {"type": "RollingUpdate"}
    container(found)["env"].insert(0, {"name": "SIDECAR", "value": "x"})
    container(found)["ports"][0]["protocol"] = "TCP"
    found["spec"]["template"]["spec"]["containers"].insert(0, {"name": "sidecar"})
    assert differences(found, WANTED) == []


EDITS = {
    "another value": (lambda found: found["spec"].update(replicas=4), "spec.replicas"),
    "a missing field": (
        lambda found: found["spec"]["template"]["spec"].pop("automountServiceAccountToken"),
        "spec.template.spec.automountServiceAccountToken",
    ),
    "true is not 1": (lambda found: found["spec"].update(replicas=False), "spec.replicas"),
    "a missing item": (
        lambda found: container(found)["env"].pop(0),
        "spec.template.spec.containers[runtime].env[A]",
    ),
    "an item's value": (
        lambda found: container(found)["env"][1].update(value="3"),
        "spec.template.spec.containers[runtime].env[B].value",
    ),
    "a longer atomic list": (
        lambda found: container(found)["args"].append("--debug"),
        "spec.template.spec.containers[runtime].args",
    ),
    "an atomic item": (
        lambda found: found["spec"]["template"]["spec"]["tolerations"][0].update(key="cpu"),
        "spec.template.spec.tolerations[0].key",
    ),
    "a quantity": (
        lambda found: container(found)["resources"]["limits"].update(memory="2Gi"),
        "spec.template.spec.containers[runtime].resources.limits.memory",
    ),
    "a label": (
        lambda found: found["metadata"]["labels"].clear(),
        "metadata.labels.app.kubernetes.io/name",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_somebody_else_is_found_and_named(edit: str) -> None:
    change, path = EDITS[edit]
    found = live()
    change(found)
    assert differences(found, WANTED) == [path]


def test_quantities_are_compared_by_value() -> None:
    found = live()
    container(found)["resources"]["limits"]["memory"] = "1024Mi"
    assert differences(found, WANTED) == []


def test_ports_of_a_network_policy_are_one_value() -> None:
    wanted = {"metadata": {}, "spec": {"ingress": [{"ports": [{"port": 8080, "protocol": "TCP"}]}]}}
    opened = copy.deepcopy(wanted)
    opened["spec"]["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})
    assert differences(opened, wanted) == ["spec.ingress[0].ports"]


REMOVALS = {
    "a field": (lambda wanted: wanted["spec"].pop("replicas"), "spec.replicas"),
    "an item": (
        lambda wanted: container(wanted)["env"].pop(0),
        "spec.template.spec.containers[runtime].env[A]",
    ),
    "a port": (
        lambda wanted: container(wanted).pop("ports"),
        "spec.template.spec.containers[runtime].ports",
    ),
    "a label": (lambda wanted: wanted["metadata"].pop("labels"), "metadata.labels"),
    "a volume": (
        lambda wanted: wanted["spec"]["template"]["spec"]["volumes"].clear(),
        "spec.template.spec.volumes[model]",
    ),
}


@pytest.mark.parametrize("removal", REMOVALS)
def test_what_the_operator_owns_and_no_longer_wants_is_found(removal: str) -> None:
    remove, path = REMOVALS[removal]
    wanted = copy.deepcopy(WANTED)
    remove(wanted)
    assert differences(live(), wanted) == [path]


@pytest.mark.parametrize("entry", [{"manager": "kubectl"}, {"operation": "Update"}, {"subresource": "status"}])
def test_what_others_own_stays(entry: dict[str, str]) -> None:
    found, wanted = live(), copy.deepcopy(WANTED)
    found["metadata"]["managedFields"][0].update(entry)
    wanted["spec"].pop("replicas")
    assert differences(found, wanted) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), JSON, max_size=4))
def test_everything_contains_itself_and_a_copy_with_more(spec: dict[str, Any]) -> None:
    wanted = {"metadata": {}, "spec": spec}
    assert differences(copy.deepcopy(wanted), wanted) == []
    more = copy.deepcopy(wanted)
    more["status"] = {"x": 1}
    more["spec"]["added by others"] = [1]
    assert differences(more, wanted) == []


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers() | st.text(min_size=1), min_size=1),
    st.data(),
)
def test_any_single_lost_value_is_found(spec: dict[str, Any], data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(sorted(spec)))
    found = {"metadata": {}, "spec": {key: value for key, value in spec.items() if key != lost}}
    assert differences(found, {"metadata": {}, "spec": spec}) == [f"spec.{lost}"]
