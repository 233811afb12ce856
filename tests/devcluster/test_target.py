"""Which cluster is chosen.

- auto: kind where a Docker engine answers (not where only its client is installed), else devcluster
- existing is an explicit choice, and says at once which settings it lacks
- images and tools of a target
"""

from pathlib import Path

import pytest
import yaml

from devcluster import addons, kind, target
from devcluster.builders import Buildah, Docker
from devcluster.errors import DevclusterError

EXISTING = {
    "DEVCLUSTER_PROVIDER": "existing",
    "KUBECONFIG": "/home/me/.kube/config",
    "DEVCLUSTER_REGISTRY": "registry.example.com/team/",
    "DEVCLUSTER_INGRESS_ADDRESS": "192.0.2.10",
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of our own, on which programs are scripts."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    for name in ("kubectl", "helm"):
        install(folder, name, "exit 0")
    return folder


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def environment(tmp_path: Path, **values: str) -> dict[str, str]:
    return {"DEVCLUSTER_CACHE": str(tmp_path / "cache"), **values}


@pytest.mark.parametrize(("script", "expected"), [("echo 28.1.0", "kind"), ("exit 1", "devcluster")])
def test_auto_asks_the_engine_and_not_only_its_client(programs: Path, script: str, expected: str) -> None:
    install(programs, "docker", script)
    assert target.provider({}) == expected
    assert target.provider({"DEVCLUSTER_PROVIDER": ""}) == expected


@pytest.mark.parametrize("choice", ["existing", "kind", "devcluster"])
def test_an_explicit_choice_is_taken(programs: Path, choice: str) -> None:
    install(programs, "docker", "echo 28.1.0")
    assert target.provider({"DEVCLUSTER_PROVIDER": choice}) == choice


def test_a_kubeconfig_alone_chooses_nothing(programs: Path) -> None:
    install(programs, "docker", "exit 1")
    assert target.provider({"KUBECONFIG": "/home/me/.kube/config"}) == "devcluster"


def test_an_unknown_choice_says_what_is_allowed() -> None:
    with pytest.raises(DevclusterError, match="'minikube'; it must be one of auto, existing, kind, devcluster"):
        target.provider({"DEVCLUSTER_PROVIDER": "minikube"})


@pytest.mark.parametrize("name", ["KUBECONFIG", "DEVCLUSTER_REGISTRY", "DEVCLUSTER_INGRESS_ADDRESS"])
def test_existing_names_what_it_lacks(tmp_path: Path, name: str) -> None:
    values = {key: value for key, value in EXISTING.items() if key != name}
    with pytest.raises(DevclusterError, match=f"existing needs {name}:"):
        target.select(environment(tmp_path, **values))


def test_existing(tmp_path: Path, programs: Path) -> None:
    install(programs, "docker", "exit 1")
    chosen = target.select(environment(tmp_path, **EXISTING))
    assert (chosen.provider, str(chosen.kubeconfig)) == ("existing", "/home/me/.kube/config")
    assert (chosen.registry, chosen.ingress_address) == ("registry.example.com/team", "192.0.2.10")
    assert chosen.kubectl == programs / "kubectl"
    assert chosen.audit_log is None
    assert isinstance(chosen.builder, Buildah)
    install(programs, "docker", "echo 28.1.0")
    assert isinstance(chosen.builder, Docker)


def test_an_existing_cluster_that_does_not_answer(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, "kubectl", 'test "$2" = --client')
    with pytest.raises(DevclusterError, match=r"the cluster of /home/me/\.kube/config does not answer"):
        target.up(environment(tmp_path, **EXISTING))


def test_devcluster(tmp_path: Path, programs: Path) -> None:
    install(programs, "docker", "echo 28.1.0")
    chosen = target.select(environment(tmp_path, DEVCLUSTER_PROVIDER="devcluster"))
    assert chosen.kubeconfig.is_relative_to(tmp_path / "cache")
    assert chosen.kubectl == tmp_path / "cache" / "bin" / "kubectl"
    assert chosen.registry == "127.0.0.1:5000"
    assert chosen.audit_log == chosen.paths.audit_log
    assert isinstance(chosen.builder, Buildah)


def test_kind_maps_the_ports_of_traefik_to_the_machine(tmp_path: Path, programs: Path) -> None:
    chosen = target.select(environment(tmp_path, DEVCLUSTER_PROVIDER="kind"))
    assert chosen.ingress_address == "127.0.0.1"
    mappings = kind.CONFIGURATION["nodes"][0]["extraPortMappings"]  # type: ignore[index]
    assert {one["hostPort"]: one["containerPort"] for one in mappings} == kind.INGRESS_PORTS
    rendered = kind._with_node_ports(addons.manifests(ingress_address="127.0.0.1")["traefik"])
    service = next(one for one in yaml.safe_load_all(rendered) if one["kind"] == "Service")
    assert service["spec"]["type"] == "NodePort"
    assert {port["port"]: port["nodePort"] for port in service["spec"]["ports"]} == kind.INGRESS_PORTS
    assert not service["spec"]["clusterIP"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DEVCLUSTER_CACHE": "/x/y"}, "/x/y"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/scoring-operator"),
        ({"DEVCLUSTER_CACHE": "", "XDG_CACHE_HOME": ""}, str(Path("~/.cache/scoring-operator").expanduser())),
    ],
)
def test_the_cache_folder(environ: dict[str, str], expected: str) -> None:
    assert str(target.Paths.from_environment(environ).cache) == expected
