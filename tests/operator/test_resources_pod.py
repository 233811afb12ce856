"""The pods: what follows from which field of the spec. Whole manifests are in the goldens.

field                  pod
any                    restricted, no token, both containers of one image
auth                   keys mounted; the cluster's public keys mounted, or another issuer's named; nothing
grpc                   a port of its own
any                    probes ask the port of the metrics, which no Service and no Ingress has
entryScript            named to runtime, for scripts alone
uri, sha256            fetch's environment; a claim is mounted read-only into fetch alone
credentials            environment of fetch alone
gpu                    limit of runtime alone, cuda for PyTorch and ONNX, update in place
timeoutSeconds         grace period = drain + timeout + 5
env                    in both containers, after the operator's
"""

from typing import Any

import pytest

from scoring_operator.desired import desired_children
from scoring_operator.resources.deployment import build_deployment
from scoring_operator.resources.pod import COLLECTION_SECONDS
from scoring_operator.resources.service import build_service
from scoring_operator.resources.surroundings import Surroundings
from tests.operator.services import ISSUER, MODEL, BuilderSettingsOf, fixture, fixture_names, service, surroundings


def deployment(**spec: Any) -> dict[str, Any]:
    of = service(**spec)
    return build_deployment(of, of.default_version, surroundings(of))


def pod(**spec: Any) -> dict[str, Any]:
    return deployment(**spec)["spec"]["template"]["spec"]


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


@pytest.mark.parametrize("name", fixture_names())
def test_restricted(name: str) -> None:
    found = fixture(name)
    for version in found.service.versions:
        spec = build_deployment(found.service, version, found.surroundings)["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        for container in spec["containers"] + spec["initContainers"]:
            security = container["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
        assert {key for volume in spec["volumes"] for key in volume} <= {
            "name",
            "emptyDir",
            "secret",
            "persistentVolumeClaim",
            "configMap",
        }


def test_both_containers_are_of_one_image() -> None:
    spec = pod()
    (fetch,), (runtime,) = spec["initContainers"], spec["containers"]
    assert (fetch["name"], fetch["args"]) == ("fetch", ["fetch"])
    assert (runtime["name"], runtime["args"]) == ("runtime", ["serve"])
    assert fetch["image"] == runtime["image"]
    assert "command" not in fetch.keys() | runtime.keys()


def test_keys_are_mounted_only_where_there_are_keys() -> None:
    spec = pod()
    keys = {"name": "keys", "mountPath": "/etc/scoring/keys", "readOnly": True}
    assert keys in spec["containers"][0]["volumeMounts"]
    assert keys not in spec["initContainers"][0]["volumeMounts"]
    spec = pod(auth={"type": "None"})
    assert "keys" not in {volume["name"] for volume in spec["volumes"]}
    assert environment(spec["containers"][0])["SCORING_AUTH"] == "none"


def test_the_clusters_public_keys_are_mounted_for_its_tokens() -> None:
    spec = pod(auth={"type": "Token", "token": {"subjects": ["system:serviceaccount:shop:cart", "b", "b"]}})
    (runtime,) = spec["containers"]
    assert {"name": "jwks", "mountPath": "/etc/scoring/jwks", "readOnly": True} in runtime["volumeMounts"]
    assert {"name": "jwks", "configMap": {"name": "iris-jwks"}} in spec["volumes"]
    assert "keys" not in {volume["name"] for volume in spec["volumes"]}
    given = {name: value for name, value in environment(runtime).items() if "TOKEN" in name or "AUTH" in name}
    assert given == {
        "SCORING_AUTH": "token",
        "SCORING_TOKEN_ISSUER": ISSUER.issuer,
        "SCORING_TOKEN_AUDIENCE": "iris.team",
        "SCORING_TOKEN_JWKS": "/etc/scoring/jwks/jwks.json",
        "SCORING_TOKEN_SUBJECTS": "system:serviceaccount:shop:cart,b",
    }


def test_nothing_of_data_collection_is_there_unless_it_is_wanted() -> None:
    spec = pod()
    assert not [name for name in environment(spec["containers"][0]) if "COLLECTION" in name]
    collecting = pod(dataCollection={"uri": "s3://logs/faq/"})
    assert "collection" not in {volume["name"] for volume in collecting["volumes"]}
    more = collecting["terminationGracePeriodSeconds"] - spec["terminationGracePeriodSeconds"]
    assert more == COLLECTION_SECONDS


def test_the_secret_of_data_collection_is_a_file_of_the_server_alone() -> None:
    spec = pod(dataCollection={"uri": "s3://logs/faq/", "credentials": {"secretName": "log-store"}})
    mount = {"name": "collection", "mountPath": "/etc/scoring/collection", "readOnly": True}
    (fetch,), (runtime,) = spec["initContainers"], spec["containers"]
    assert mount in runtime["volumeMounts"]
    assert mount not in fetch["volumeMounts"]
    assert "envFrom" not in runtime
    secret = {"secretName": "log-store", "defaultMode": 0o440, "optional": True}
    assert {"name": "collection", "secret": secret} in spec["volumes"]
    given = {name: value for name, value in environment(runtime).items() if "COLLECTION" in name}
    assert given == {
        "SCORING_DATA_COLLECTION_URI": "s3://logs/faq/",
        "SCORING_DATA_COLLECTION_SAMPLING_PERCENT": "100",
        "SCORING_DATA_COLLECTION_CREDENTIALS_DIR": "/etc/scoring/collection",
    }


def test_another_issuers_keys_are_named_and_nothing_is_mounted() -> None:
    token = {"issuer": "https://login.example.com/", "jwksUri": "https://login.example.com/keys", "audience": "m"}
    spec = pod(auth={"type": "Token", "token": token})
    given = environment(spec["containers"][0])
    assert given["SCORING_TOKEN_ISSUER"] == "https://login.example.com/"
    assert given["SCORING_TOKEN_JWKS"] == "https://login.example.com/keys"
    assert given["SCORING_TOKEN_AUDIENCE"] == "m"
    assert "SCORING_TOKEN_SUBJECTS" not in given
    assert {volume["name"] for volume in spec["volumes"]} == {"model", "tmp"}


@pytest.mark.parametrize("auth", [{"type": "Key"}, {"type": "None"}])
def test_without_tokens_nothing_is_said_about_them(auth: dict[str, Any]) -> None:
    assert [name for name in environment(pod(auth=auth)["containers"][0]) if "TOKEN" in name] == []


def test_probes_ask_the_port_of_the_metrics() -> None:
    """A pod that has hundreds of requests waiting must not be taken for dead."""
    (runtime,) = pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in runtime["ports"]}
    assert ports == {"http": 8080, "metrics": 8082}
    asked = {
        probe: runtime[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if runtime[probe]["httpGet"]["port"] == "metrics"
    }
    assert asked == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert environment(runtime)["SCORING_METRICS_PORT"] == "8082"


def test_metrics_are_out_of_reach_of_the_service_and_of_ingress_controllers() -> None:
    of = service(ingress={"host": "iris.example.com"}, grpc={"enabled": True}, networkPolicy={"enabled": True})
    made = {child["kind"]: child for child in desired_children(of, surroundings(of))}
    assert [port["targetPort"] for port in made["Service"]["spec"]["ports"]] == ["http", "grpc"]
    (path,) = made["Ingress"]["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["port"] == {"name": "http"}
    neighbours, controllers = made["NetworkPolicy"]["spec"]["ingress"]
    assert [port["port"] for port in neighbours["ports"]] == [8080, 8081, 8082]
    assert [port["port"] for port in controllers["ports"]] == [8080]


def test_a_policy_without_ingress_controllers_has_no_rule_that_lets_everybody_in() -> None:
    of = service(networkPolicy={"enabled": True})
    around = surroundings(of, settings=BuilderSettingsOf(ingress_namespaces=()))
    policy = next(child for child in desired_children(of, around) if child["kind"] == "NetworkPolicy")
    assert [rule["from"] for rule in policy["spec"]["ingress"]] == [[{"podSelector": {}}]]


@pytest.mark.parametrize(
    "spec", [{"accelerate": "onnx"}, {"versions": [{"name": "v1", "model": MODEL}], "rollout": {}}]
)
def test_a_policy_lets_the_operator_ask_models_and_routers(spec: dict[str, Any]) -> None:
    of = service(networkPolicy={"enabled": True}, **spec)
    around = surroundings(of, settings=BuilderSettingsOf(namespace="control", ingress_namespaces=()))
    policy = next(child for child in desired_children(of, around) if child["kind"] == "NetworkPolicy")
    assert policy["spec"]["ingress"][1:] == [
        {
            "from": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "control"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "scoring-operator"}},
                }
            ],
            "ports": [{"port": 8082, "protocol": "TCP"}],
        }
    ]


@pytest.mark.parametrize(("grpc", "ports"), [(None, []), ({"enabled": False}, []), ({"enabled": True}, [8081])])
def test_grpc_has_a_port_of_its_own(grpc: dict[str, bool] | None, ports: list[int]) -> None:
    of = service(**({} if grpc is None else {"grpc": grpc}))
    (runtime,) = build_deployment(of, of.default_version, surroundings(of))["spec"]["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in runtime["ports"] if port["name"] == "grpc"] == ports
    assert environment(runtime)["SCORING_GRPC_PORT"] == str(*ports or [0])
    published = [port for port in build_service(of, of.default_version.name)["spec"]["ports"] if port["name"] == "grpc"]
    assert [port["port"] for port in published] == ports
    assert all(port["appProtocol"] == "kubernetes.io/h2c" for port in published)


@pytest.mark.parametrize(
    ("model", "script"),
    [
        ({"framework": "script"}, "score.py"),
        ({"framework": "script", "entryScript": "src/own.py"}, "src/own.py"),
        ({"framework": "onnx"}, None),
    ],
)
def test_the_entry_script(model: dict[str, str], script: str | None) -> None:
    spec = pod(model={"uri": "s3://m/1/", **model})
    assert environment(spec["containers"][0]).get("SCORING_ENTRY_SCRIPT") == script
    assert "SCORING_ENTRY_SCRIPT" not in environment(spec["initContainers"][0])


def test_a_claim_is_mounted_into_fetch_alone() -> None:
    spec = pod(model={"uri": "pvc://models/iris/1", "framework": "sklearn"})
    claim = {"name": "claim", "mountPath": "/mnt/pvc", "readOnly": True}
    assert claim in spec["initContainers"][0]["volumeMounts"]
    assert claim not in spec["containers"][0]["volumeMounts"]
    assert spec["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert environment(spec["initContainers"][0])["SCORING_PVC_ROOT"] == "/mnt/pvc"


def test_credentials_reach_fetch_alone() -> None:
    spec = pod(model={**MODEL, "credentials": {"secretName": "store"}})
    assert spec["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert "envFrom" not in spec["containers"][0]


def test_credentials_of_a_registry_reach_fetch_alone() -> None:
    model = {"uri": "oci://registry.example.com/iris:3", "framework": "sklearn"}
    spec = pod(model={**model, "credentials": {"secretName": "registry"}})
    reference = {"name": "registry", "key": ".dockerconfigjson", "optional": True}
    expected = {"name": "DOCKER_AUTH_CONFIG", "valueFrom": {"secretKeyRef": reference}}
    assert expected in spec["initContainers"][0]["env"]
    assert expected not in spec["containers"][0]["env"]
    for other in (pod(model=model), pod(model={**MODEL, "credentials": {"secretName": "store"}})):
        assert not any(variable["name"] == "DOCKER_AUTH_CONFIG" for variable in other["initContainers"][0]["env"])


def test_the_model_is_read_only_to_the_runtime() -> None:
    spec = pod()
    assert {"name": "model", "mountPath": "/mnt/model"} in spec["initContainers"][0]["volumeMounts"]
    assert {"name": "model", "mountPath": "/mnt/model", "readOnly": True} in spec["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("framework", "device"),
    [("pytorch", "cuda"), ("onnx", "cuda"), ("tensorflow", "cuda"), ("keras", "cuda"), ("sklearn", "cpu")],
)
def test_gpus(framework: str, device: str) -> None:
    made = deployment(
        model={"uri": "s3://m/1/", "framework": framework}, gpu=2, resources={"limits": {"memory": "1Gi"}}
    )
    spec = made["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "1Gi", "nvidia.com/gpu": "2"}
    assert spec["initContainers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    assert environment(spec["containers"][0])["SCORING_DEVICE"] == device
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_without_gpus() -> None:
    made = deployment(model={"uri": "s3://m/1/", "framework": "pytorch"})
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    runtime = made["spec"]["template"]["spec"]["containers"][0]
    assert "resources" not in runtime
    assert environment(runtime)["SCORING_DEVICE"] == "cpu"


def test_the_grace_period_outlasts_a_request() -> None:
    spec = pod(requestSettings={"timeoutSeconds": 100})
    drain = int(environment(spec["containers"][0])["SCORING_DRAIN_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] == drain + 100 + 5


def test_variables_of_the_user_come_last_in_both_containers() -> None:
    own = [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    spec = pod(pod={"env": own})
    assert spec["containers"][0]["env"][-2:] == own
    assert spec["initContainers"][0]["env"][-2:] == own


def test_kubernetes_expands_nothing_in_an_address() -> None:
    spec = pod(model={"uri": "https://example.com/$(SECRET)/$x", "framework": "sklearn"})
    assert environment(spec["initContainers"][0])["SCORING_MODEL_URI"] == "https://example.com/$$(SECRET)/$$x"


def test_labels_of_the_user_never_replace_those_of_the_selector() -> None:
    made = deployment(pod={"labels": {"team": "search"}})
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "search"
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(("written", "applied"), [(None, 1), (0, 0), (7, 7)])
def test_replicas(written: int | None, applied: int) -> None:
    assert deployment(**({} if written is None else {"replicas": written}))["spec"]["replicas"] == applied


def test_replicas_belong_to_the_autoscaler_where_there_is_one() -> None:
    from dataclasses import replace

    from scoring_operator.spec import Autoscaling

    of = service()
    version = replace(of.default_version, replicas=None, autoscaling=Autoscaling())
    assert "replicas" not in build_deployment(of, version, surroundings(of))["spec"]


def test_the_template_knows_nothing_of_the_operators_other_settings() -> None:
    """Only the pull policy reaches the pods: nothing else that an administrator sets may restart a model."""
    of = service(ingress={"host": "iris.example.com"})

    def template(around: Surroundings) -> dict[str, Any]:
        return build_deployment(of, of.default_version, around)["spec"]["template"]

    other = BuilderSettingsOf(
        ingress_domain="m.example.com", ingress_class="c", ingress_tls="selfSigned", ingress_namespaces=()
    )
    assert template(surroundings(of)) == template(surroundings(of, settings=other, middlewares=False, tls=None))


def test_manifests_share_nothing() -> None:
    """A caller may change a manifest without changing the next one."""
    first, second = pod(), pod()
    first["volumes"][0]["emptyDir"]["medium"] = "Memory"
    first["containers"][0]["securityContext"]["capabilities"]["drop"].clear()
    assert second == pod()
    assert second["initContainers"][0]["securityContext"]["capabilities"]["drop"] == ["ALL"]
