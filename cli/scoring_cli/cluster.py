"""The Kubernetes API as far as the commands need it: the one edge that tests replace."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

GROUP = "scoring.dev"
VERSION = "v1alpha1"
PLURAL = "scoringservices"
FIELD_MANAGER = "kubectl-scoring"
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterError(click.ClickException):
    """The cluster said no or could not be asked; click prints the message and ends with 1."""


@dataclass(frozen=True)
class Secret:
    """A Secret as it was read: `version` (resourceVersion) guards a later write against a change in between."""

    name: str
    namespace: str
    version: str
    data: Mapping[str, bytes]


class Cluster(Protocol):
    """What the commands ask of a cluster. Every method raises ClusterError with a sentence that says what to do."""

    namespace: str

    def read_service(self, name: str) -> Mapping[str, Any]:
        """Return the ScoringService as the API gives it."""

    def read_secret(self, name: str) -> Secret:
        """Return the Secret with its data decoded."""

    def replace_secret_value(self, secret: Secret, key: str, value: bytes) -> None:
        """Write one value of the Secret, unless the Secret has changed since it was read."""


def connect(namespace: str | None, context: str | None) -> Cluster:
    """Connect as kubectl does: KUBECONFIG or ~/.kube/config, or the pod's own account inside a cluster."""
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    kubeconfig = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    try:
        if context is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            configuration = client.Configuration()
            config.load_incluster_config(client_configuration=configuration)
            own_namespace = _POD_NAMESPACE.read_text(encoding="utf-8").strip()
            return _ApiCluster(namespace or own_namespace, client.ApiClient(configuration))
        api = config.new_client_from_config(kubeconfig, context=context)
        contexts, active = config.list_kube_config_contexts(kubeconfig)
    except (ConfigException, OSError) as error:
        raise ClusterError(f"No cluster to talk to: {error}. Set KUBECONFIG or choose a --context.") from error
    chosen = next((each for each in contexts if each["name"] == context), active)
    return _ApiCluster(namespace or chosen["context"].get("namespace", "default"), api)


class _ApiCluster:
    """A real cluster through the official client."""

    def __init__(self, namespace: str, api: Any) -> None:
        from kubernetes import client

        self.namespace = namespace
        self._core = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)

    def read_service(self, name: str) -> Mapping[str, Any]:
        what = f"ScoringService {name} in namespace {self.namespace}"
        found: Mapping[str, Any] = self._ask(
            what,
            lambda: self._custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, name),
        )
        return found

    def read_secret(self, name: str) -> Secret:
        what = f"Secret {name} in namespace {self.namespace}"
        found = self._ask(what, lambda: self._core.read_namespaced_secret(name, self.namespace))
        data = {key: base64.b64decode(value) for key, value in (found.data or {}).items()}
        return Secret(name, self.namespace, found.metadata.resource_version, data)

    def replace_secret_value(self, secret: Secret, key: str, value: bytes) -> None:
        body = {
            "metadata": {"resourceVersion": secret.version},
            "data": {key: base64.b64encode(value).decode("ascii")},
        }
        self._ask(
            f"Secret {secret.name} in namespace {secret.namespace}",
            lambda: self._core.patch_namespaced_secret(
                secret.name, secret.namespace, body, field_manager=FIELD_MANAGER
            ),
        )

    @staticmethod
    def _ask(what: str, call: Any) -> Any:
        """Run one API call and turn its failure into a sentence about `what`."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call()
        except ApiException as error:
            raise ClusterError(_explain(what, error.status, error.body)) from error
        except HTTPError as error:
            raise ClusterError(f"The API server does not answer: {error}") from error


def _explain(what: str, status: int | None, body: str | bytes | None) -> str:
    """Say what an HTTP status of the API server means for the person who asked."""
    if status == 404:
        return f"{what} does not exist. Check the name and the namespace (-n)."
    if status == 403:
        return f"You may not do this to {what}: ask for a role that allows it (`edit` does)."
    if status == 409:
        return f"{what} has changed in the meantime. Run the command again."
    try:
        detail = json.loads(body or "{}").get("message", "")
    except ValueError:
        detail = ""
    return f"{what}: the API server answered {status}. {detail}".rstrip()
