"""What the chart renders.

- goldens: the default values and every feature at once, whole manifests
- `helm lint --strict` has nothing to say
- objects: namespaces are written out (helm template | kubectl apply), labels everywhere, releases do not collide
- replicas: one → Recreate without election; several → election, budget, spreading
- images: registry, tag, digest
- the CRD: the source's own, kept, or left out
- every value is explained in values.yaml and typed in values.schema.json
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scoring_cli.validation import validate_text
from scoring_operator.frameworks import FRAMEWORKS
from tests.chart.conftest import CHART, ROOT, Render

GOLDENS = Path(__file__).parent / "goldens"
FULL = Path(__file__).parent / "full-values.yaml"
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}


@pytest.mark.parametrize(("name", "values"), [("default", {"crds": {"install": False}}), ("full", FULL)])
def test_the_manifests_are_the_golden_ones(
    render: Render, golden: Callable[[Path, str], None], name: str, values: Any
) -> None:
    golden(GOLDENS / f"{name}.yaml", render(values).text)


def test_lint_has_nothing_to_say(helm: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr


@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_every_namespaced_object_names_its_namespace(render: Render, values: Any) -> None:
    for each in render(values).objects:
        assert ("namespace" in each["metadata"]) == (each["kind"] not in CLUSTER_SCOPED), each["metadata"]
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "scoring-operator", each["metadata"]


def test_two_releases_share_no_name(render: Render) -> None:
    names = [
        (each["kind"], each["metadata"]["name"])
        for release in ("scoring-operator", "team-a")
        for each in render({"crds": {"install": False}}, release=release).objects
    ]
    assert len(set(names)) == len(names)


def test_one_replica_is_never_two(render: Render) -> None:
    rendered = render()
    assert rendered.one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert rendered.environment["SCORING_OPERATOR_LEADER_ELECTION"]["value"] == "false"
    assert not rendered.all("PodDisruptionBudget")


def test_several_replicas_elect_a_leader_and_survive_a_drain(render: Render) -> None:
    rendered = render({"replicas": 2})
    deployment = rendered.one("Deployment")
    assert rendered.environment["SCORING_OPERATOR_LEADER_ELECTION"]["value"] == "true"
    assert deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert rendered.one("PodDisruptionBudget")["spec"]["selector"] == deployment["spec"]["selector"]


def test_selectors_find_the_pod(render: Render) -> None:
    rendered = render(FULL)
    pod = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        rendered.one("Deployment")["spec"]["selector"]["matchLabels"],
        rendered.one("Service")["spec"]["selector"],
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= pod for selector in selectors)
    monitored = rendered.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    assert monitored <= rendered.one("Service")["metadata"]["labels"].items()


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "scoring-operator:0.1.0"),
        ({"image": {"tag": "7"}}, "scoring-operator:7"),
        ({"image": {"repository": "localhost:5000/operator"}}, "localhost:5000/operator:0.1.0"),
        ({"image": {"tag": "7", "digest": DIGEST}}, f"scoring-operator@{DIGEST}"),
        ({"imageRegistry": "r.example.com/ml"}, "r.example.com/ml/scoring-operator:0.1.0"),
    ],
)
def test_the_operator_image(render: Render, values: Mapping[str, Any], image: str) -> None:
    (container,) = render(values).one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image


@pytest.mark.parametrize(
    ("values", "images"),
    [
        ({}, {name: f"scoring-runtime-{name}:0.1.0" for name in FRAMEWORKS}),
        (
            {
                "imageRegistry": "r.example.com",
                "runtimeImages": {
                    **dict.fromkeys(FRAMEWORKS, ""),
                    "sklearn": f"r@{DIGEST}",
                    "pytorch": "p:1",
                    "onnx": "o",
                },
            },
            {"sklearn": f"r.example.com/r@{DIGEST}", "pytorch": "r.example.com/p:1", "onnx": "r.example.com/o:0.1.0"},
        ),
        (
            {"runtimeImages": dict.fromkeys(FRAMEWORKS[1:], "")},
            {"sklearn": "scoring-runtime-sklearn:0.1.0"},
        ),
    ],
)
def test_the_runtime_images(render: Render, values: Mapping[str, Any], images: Mapping[str, str]) -> None:
    assert json.loads(render(values).environment["SCORING_OPERATOR_RUNTIME_IMAGES"]["value"]) == images


def test_the_packaged_crd_is_the_source(render: Render) -> None:
    (source,) = (ROOT / "crds").glob("*.yaml")
    (packaged,) = (CHART / "files").glob("*.yaml")
    assert packaged.name == source.name
    assert packaged.read_bytes() == source.read_bytes(), "run `make chart`"
    rendered = render().one("CustomResourceDefinition")
    assert rendered["spec"] == yaml.safe_load(source.read_text())["spec"]
    assert rendered["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_crd_can_be_left_out_or_removed_with_the_release(render: Render) -> None:
    assert not render({"crds": {"install": False}}).all("CustomResourceDefinition")
    metadata = render({"crds": {"keep": False}}).one("CustomResourceDefinition")["metadata"]
    assert "helm.sh/resource-policy" not in metadata.get("annotations", {})


def test_watched_namespaces_get_a_role_each(render: Render) -> None:
    rendered = render({"watchNamespaces": ["team-a", "team-b"]})
    namespaces = {each["metadata"]["namespace"] for each in rendered.all("Role")}
    assert namespaces == {"team-a", "team-b", "scoring-system"}
    assert {each["metadata"]["namespace"] for each in rendered.all("RoleBinding")} == namespaces
    assert rendered.environment["SCORING_OPERATOR_WATCH_NAMESPACES"]["value"] == "team-a,team-b"


def test_every_value_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    keys = [(number, line) for number, line in enumerate(lines) if re.match(r" *[A-Za-z]+:( |$)", line)]
    unexplained = [line for number, line in keys if not lines[number - 1].lstrip().startswith("#")]
    assert unexplained == []


def test_the_schema_knows_every_value_and_refuses_all_others() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(_schema_paths(schema)) - {("global",)} == set(_paths(values, schema))


def _paths(values: Mapping[str, Any], schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of the values, down to where the schema says that the content is free."""
    for key, value in values.items():
        below = schema["properties"].get(key, {})
        if "properties" in below:
            yield from _paths(value, below, (*at, key))
        else:
            yield (*at, key)


def _schema_paths(schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    assert schema["additionalProperties"] is False, at
    for key, below in schema["properties"].items():
        if "properties" in below:
            yield from _schema_paths(below, (*at, key))
        else:
            yield (*at, key)


def test_the_notes_tell_the_next_step_and_it_can_be_pasted(helm: Path) -> None:
    command = [
        helm,
        "install",
        "op",
        CHART,
        "--namespace",
        "models",
        "--dry-run=client",
        "--set",
        "watchNamespaces={a}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "", "HOME": "/nonexistent"})
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert "--namespace models rollout status deployment/op-scoring-operator" in notes
    pasted = re.search(r"^kubectl apply --namespace a -f - <<EOF\n(.*?)^EOF$", notes, re.MULTILINE | re.DOTALL)
    assert pasted
    assert validate_text("NOTES.txt", pasted[1]) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("ingress.domain=x.example.com", "WARNING: ingress.tls is empty"),
        ("runtimeImages=null", "WARNING: runtimeImages is empty"),
        ("crds.install=false", "must be applied by other means"),
    ],
)
def test_the_notes_warn(helm: Path, values: str, said: str) -> None:
    command = [helm, "install", "op", CHART, "--dry-run=client", "--set", values]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "", "HOME": "/nonexistent"})
    assert said in done.stdout
