"""The chart grants what the operator calls: no more, no less.

The calls are read from the operator's sources: every call of a method of kube.Kube, with the kind it is given. A kind
that is only known at run time stands for the table it comes from (the children, or all that is watched).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scoring_operator import kinds, leader, naming, tokens
from scoring_operator.kinds import CHILDREN, WATCHED, Kind
from scoring_operator.kube import Kube
from tests.chart.conftest import ROOT, Manifest, Render

SOURCES = ROOT / "operator" / "scoring_operator"

Grant = tuple[str, str, str]
"""API group, resource and verb."""

VERBS = {
    "get": ["get"],
    "metadata": ["get"],
    "list": ["list"],
    "create": ["create"],
    # Server-side apply is a patch, and a create where the object does not exist yet.
    "apply": ["patch", "create"],
    "merge": ["patch"],
    "merge_status": ["patch"],
    "annotate": ["patch"],
    "share_replicas": ["patch"],
    "scale": ["patch"],
    "delete": ["delete"],
    # Discovery, which every account may do.
    "serves": [],
    # No resource: see test_documents_beside_the_resources.
    "document": [],
    "close": [],
}

SUBRESOURCES = {"merge_status": "/status", "annotate": "/status", "scale": "/scale"}

BEYOND_THE_CALLS: dict[Grant, str] = {
    ("scoring.dev", "scoringservices/finalizers", "update"): "ownerReferences where their permissions are enforced",
}


def _calls() -> Iterator[tuple[str, ast.expr, Path]]:
    """Method, first argument and file of every call of the API."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                receiver = node.func.value
                name = getattr(receiver, "attr", getattr(receiver, "id", ""))
                if name in ("_kube", "kube"):
                    yield node.func.attr, node.args[0], path


def _kinds(method: str, argument: ast.expr) -> tuple[Kind, ...]:
    """The kinds that a call may be about."""
    constant = getattr(kinds, argument.id, None) if isinstance(argument, ast.Name) else None
    if isinstance(constant, Kind):
        return (constant,)
    return WATCHED if method == "list" else CHILDREN


def _called() -> set[Grant]:
    found = {(kind.group, kind.plural, verb) for kind in WATCHED for verb in ("list", "watch")}
    for method, argument, _ in _calls():
        for kind in _kinds(method, argument):
            resource = kind.plural + SUBRESOURCES.get(method, "")
            found |= {(kind.group, resource, verb) for verb in VERBS[method]}
    return found


def _granted(*roles: Manifest) -> set[Grant]:
    rules: list[Any] = [rule for role in roles for rule in role["rules"] if "resourceNames" not in rule]
    rules = [rule for rule in rules if "nonResourceURLs" not in rule]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_every_method_of_the_api_edge_has_its_verbs() -> None:
    assert {name for name in vars(Kube) if not name.startswith("_")} == set(VERBS)


def test_the_calls_are_found() -> None:
    """The reading of the sources is not blind: it sees each sort of call that there must be."""
    assert {method for method, _, _ in _calls()} >= {"apply", "delete", "list", "merge_status"}


def test_the_cluster_role_grants_what_is_called_and_no_more(render: Render) -> None:
    (role,) = (
        each for each in render().all("ClusterRole") if not each["metadata"]["name"].endswith(("-view", "-edit"))
    )
    assert _granted(role) - set(BEYOND_THE_CALLS) == _called()


def test_roles_and_a_small_cluster_role_grant_the_same(render: Render) -> None:
    rendered = render({"watchNamespaces": ["team-a"], "rbac": {"aggregateClusterRoles": False}})
    (namespaced,) = (each for each in rendered.all("Role") if each["metadata"]["namespace"] == "team-a")
    cluster = rendered.one("ClusterRole")
    assert _granted(namespaced, cluster) - set(BEYOND_THE_CALLS) == _called()
    scoped = {kind.plural for kind in WATCHED if not kind.namespaced} | {"gatewayclasses"}
    of_others = {"gateways"}  # a service may name one of another namespace
    assert {resource for _, resource, _ in _granted(cluster)} == scoped | of_others


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}], ids=["clusterwide", "namespaced"])
def test_documents_beside_the_resources(render: Render, values: dict[str, Any]) -> None:
    """They are granted by path, which only a ClusterRole can."""
    called = {getattr(tokens, argument.id) for method, argument, _ in _calls() if method == "document"}  # type: ignore[attr-defined]
    rules = [rule for role in render(values).all("ClusterRole") for rule in role["rules"] if "nonResourceURLs" in rule]
    assert [rule["verbs"] for rule in rules] == [["get"]]
    assert {path for rule in rules for path in rule["nonResourceURLs"]} == called != set()


def test_the_operators_own_namespace_holds_its_lease_and_its_authority(render: Render) -> None:
    (role,) = (each for each in render().all("Role") if each["metadata"]["namespace"] == "scoring-system")
    named = {
        (resource, verb): rule["resourceNames"]
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if "resourceNames" in rule
    }
    assert named == {
        ("leases", "get"): [leader.LEASE],
        ("leases", "update"): [leader.LEASE],
        ("secrets", "get"): [naming.AUTHORITY_SECRET],
        ("secrets", "patch"): [naming.AUTHORITY_SECRET],
    }
    assert _granted(role) == {("coordination.k8s.io", "leases", "create"), ("", "secrets", "create")}


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}], ids=["clusterwide", "namespaced"])
def test_nothing_is_a_wildcard_and_nothing_leads_to_more(render: Render, values: dict[str, Any]) -> None:
    rendered = render(values)
    granted = _granted(*rendered.all("Role"), *rendered.all("ClusterRole"))
    assert not any("*" in part for grant in granted for part in grant)
    assert not {verb for _, _, verb in granted} & {"escalate", "bind", "impersonate"}
    assert not {resource for _, resource, _ in granted} & {"roles", "rolebindings", "pods/exec", "pods/log"}


def test_bindings_name_the_account_of_the_pod(render: Render) -> None:
    rendered = render({"watchNamespaces": ["team-a"], "serviceAccount": {"name": "other"}})
    account = rendered.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    assert account == rendered.one("ServiceAccount")["metadata"]["name"] == "other"
    for binding in rendered.all("RoleBinding") + rendered.all("ClusterRoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "other", "namespace": "scoring-system"}]


def test_users_may_what_their_role_in_the_namespace_says(render: Render) -> None:
    roles = {each["metadata"]["name"].rpartition("-")[2]: each for each in render().all("ClusterRole")}
    aggregated = "rbac.authorization.k8s.io/aggregate-to-"
    to = {
        name: {key for key in role["metadata"]["labels"] if key.startswith(aggregated)} for name, role in roles.items()
    }
    assert to["view"] == {aggregated + name for name in ("view", "edit", "admin")}
    assert to["edit"] == {aggregated + name for name in ("edit", "admin")}
    assert {verb for _, _, verb in _granted(roles["view"])} == {"get", "list", "watch"}
    assert not any("status" in resource for _, resource, _ in _granted(roles["edit"]))


def test_the_documented_table_is_what_is_granted(render: Render) -> None:
    role = render({"rbac": {"aggregateClusterRoles": False}}).one("ClusterRole")
    text = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| (core|`[\w.]+`) \| `([\w/]+)` \| ([a-z, ]+) \|", text, re.MULTILINE)
    documented = {
        ("" if group == "core" else group.strip("`"), resource, verb)
        for group, resource, verbs in rows
        for verb in verbs.split(", ")
    }
    assert documented == _granted(role)
