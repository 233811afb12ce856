"""Writes docs/reference.md from the CRD, whose descriptions are the one place where fields are explained."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_INTRO = """# Reference: ScoringService

Every field of `scoring.dev/v1alpha1`, kind `ScoringService`. The same texts are on every cluster that has the operator:
`kubectl explain scoringservice.spec.requestSettings`. This page is made from the CRD; `pytest tests/contract
--update-goldens` writes it.

The smallest service:

```yaml
apiVersion: scoring.dev/v1alpha1
kind: ScoringService
metadata: {name: iris}
spec:
  model: {uri: s3://models/iris/3/, framework: sklearn}
```

[examples/full.yaml](../examples/full.yaml) has every field that is supported today. A spec that cannot work is
refused by `kubectl apply` with a sentence that says what to write instead; `kubectl scoring validate` says the same
without a cluster ([cli.md](cli.md)).
"""

_VERSIONS = """## Fields of a version

These stand in `spec`, for every version, or in one of `spec.versions`, for that version alone. What a version leaves
out it takes from `spec`: `requestSettings`, `batching` and `pod` field by field, everything else as a whole (a version
with `resources` of its own inherits no limit). A change of `replicas` starts or stops pods and leaves the others alone;
a change of anything else here replaces the version's pods one after the other.
"""

_STATUS = """## status

Written by the operator alone. `kubectl get scoringservices` shows the most useful part:

"""

_CONDITIONS = """### Conditions

`Ready`, `Reconciling` and `Stalled` follow
[kstatus](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus), so
`kubectl wait --for=condition=Ready scoringservice/iris` and GitOps tools understand them; `IngressReady` is about the
way in from outside. [Troubleshooting](troubleshooting.md#every-reason) explains every reason.
"""

_SHOWN = {False: "always", True: "with `-o wide`"}

_SERVICE_FIELDS = ("model", "ingress", "gateway", "auth", "grpc", "sticky", "networkPolicy", "rollout")


def render(crd: Schema) -> str:
    """The whole page."""
    (version,) = crd["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    spec, status = properties["spec"]["properties"], properties["status"]["properties"]
    own = {"name", "model", "default", "control", "traffic", "mirror"}
    item = {name: node for name, node in spec["versions"]["items"]["properties"].items() if name in own}
    elsewhere = {*_SERVICE_FIELDS, "versions"}
    of_versions = {name: node for name, node in spec.items() if name not in elsewhere}
    parts = [
        _INTRO,
        "## Fields of the service\n",
        *_sections({name: spec[name] for name in _SERVICE_FIELDS}, "spec"),
        f"### spec.versions\n\n{spec['versions']['description']}\n\n{_table(item, 'spec.versions[]', deep=False)}",
        _VERSIONS,
        *_sections(of_versions, "spec"),
        _STATUS + _columns(version["additionalPrinterColumns"]),
        _table(status, "status"),
        _CONDITIONS,
    ]
    return "\n".join(parts)


def _sections(properties: Schema, path: str) -> Iterator[str]:
    """A table of what has no parts, and a section for each of the others."""
    plain = {name: node for name, node in properties.items() if not _has_parts(node)}
    if plain:
        yield _table(plain, path)
    for name, node in properties.items():
        if name not in plain:
            yield f"### {path}.{name}\n\n{node['description']}\n\n{_table(node['properties'], f'{path}.{name}')}"


def _has_parts(node: Schema) -> bool:
    return "properties" in node


def _table(properties: Schema, path: str, *, deep: bool = True) -> str:
    rows = "".join(_row(where, node) for where, node in _fields(properties, path, deep=deep))
    return f"| field | type | what it is for |\n|---|---|---|\n{rows}"


def _row(path: str, node: Schema) -> str:
    text = node["description"].replace("|", "\\|")
    return f"| `{path}` | {_type(node)} | {text} |\n"


def _fields(properties: Schema, path: str, *, deep: bool) -> Iterator[tuple[str, Schema]]:
    for name, node in properties.items():
        where = f"{path}.{name}"
        yield where, node
        items = node.get("items", {})
        if deep:
            yield from _fields(node.get("properties", {}), where, deep=True)
            yield from _fields(items.get("properties", {}), f"{where}[]", deep=True)


def _type(node: Schema) -> str:
    """The type with its bounds or choices, such as `integer, 1 to 3600`."""
    if "enum" in node:
        return " or ".join(f"`{choice}`" for choice in node["enum"])
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    if isinstance(node.get("additionalProperties"), dict):
        inner = node["additionalProperties"]
        return "map of quantities" if inner.get("x-kubernetes-int-or-string") else "map of strings"
    kind = str(node["type"])
    if "minimum" in node and "maximum" in node:
        return f"{kind}, {node['minimum']} to {node['maximum']}"
    return kind


def _columns(columns: list[Schema]) -> str:
    rows = "".join(
        f"| {column['name'].upper()} | {_SHOWN[bool(column.get('priority'))]} | {column['description']} |\n"
        for column in columns
    )
    return f"| column | shown | what it says |\n|---|---|---|\n{rows}"
