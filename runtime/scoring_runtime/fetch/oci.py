"""oci://registry/repository:tag and oci://registry/repository@sha256:digest: a model in a container registry.

Two kinds are taken: artifacts whose layers are files with a title (`oras push`), and images whose layers hold a folder
`/models` (what KServe calls a modelcar). Every manifest and layer is compared with its digest. Credentials are those of
`docker login`, in `DOCKER_AUTH_CONFIG`, which the operator fills from a Secret of type kubernetes.io/dockerconfigjson.
The protocol is the OCI distribution specification's (https://github.com/opencontainers/distribution-spec).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from typing import Any

from scoring_runtime.errors import ModelChecksumMismatch, ModelInvalid, SettingsInvalid
from scoring_runtime.fetch.client import Client, Wording
from scoring_runtime.fetch.oci_access import Access, DockerConfig
from scoring_runtime.fetch.source import Listing, RemoteFile, safe_path
from scoring_runtime.settings import Settings

PLAIN_HTTP_VARIABLE = "OCI_PLAIN_HTTP"
MODELS = "models"
"""The folder of an image that holds the model."""
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_ADDRESS = re.compile(
    r"oci://(?P<registry>[^/@\s]+)/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[a-f0-9]{64}))?",
    re.ASCII,
)
_LOCAL = re.compile(r"(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def open_source(uri: str, settings: Settings) -> RegistrySource:
    """Open an oci:// address."""
    found = _ADDRESS.fullmatch(uri)
    if found is None or not (found["tag"] or found["digest"]):
        raise SettingsInvalid(
            f"SCORING_MODEL_URI={uri!r}: write oci://REGISTRY/REPOSITORY:TAG or oci://REGISTRY/REPOSITORY@sha256:DIGEST"
        )
    registry, repository = found["registry"], found["repository"]
    credentials = DockerConfig(os.environ).credentials(registry)
    if registry == "docker.io":
        registry = "registry-1.docker.io"
        repository = repository if "/" in repository else f"library/{repository}"
    plain = os.environ.get(PLAIN_HTTP_VARIABLE, "").lower() == "true" or _LOCAL.fullmatch(registry)
    base = f"{'http' if plain else 'https'}://{registry}/v2/"
    wording = Wording(
        uri,
        "there is no such repository, tag or digest",
        "the registry does not accept the credentials"
        if credentials
        else "there are no credentials: name a Secret of the type kubernetes.io/dockerconfigjson in "
        "model.credentials.secretName (kubectl create secret docker-registry makes one)",
    )
    access = Access(base, repository, credentials, wording)
    client = Client(wording, access.authorization)
    return RegistrySource(client, f"{base}{repository}", found["digest"] or found["tag"])


class RegistrySource:
    """One artifact or image."""

    def __init__(self, client: Client, repository: str, reference: str) -> None:
        self._client = client
        self._repository = repository
        self._reference = reference

    def listing(self) -> Listing:
        """See `Source.listing`. The checksum of the whole is the manifest's digest."""
        manifest, digest = self._manifest(self._reference)
        try:
            return self._described(manifest, digest)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ModelInvalid(
                f"the manifest of {self._client.wording.address} is not of the form that OCI says "
                f"({type(error).__name__}: {error}); push the model again"
            ) from None

    def _described(self, manifest: dict[str, Any], digest: str) -> Listing:
        if "manifests" in manifest:
            manifest, _ = self._manifest(_of_this_platform(manifest["manifests"], self._client.wording.address))
        layers = manifest.get("layers") or []
        files = tuple(_titled_file(layer) for layer in layers if _title(layer))
        if files:
            return Listing(files, is_folder=True, sha256=digest)
        files = tuple(_layer(number, layer) for number, layer in enumerate(layers) if "tar" in layer["mediaType"])
        if files:
            return Listing(files, is_folder=True, sha256=digest, root=MODELS)
        raise ModelInvalid(
            f"{self._client.wording.address} is neither an image nor an artifact of files with titles; push the model "
            "with oras push, or build an image with the model in /models"
        )

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return self._client.read(f"{self._repository}/blobs/{file.key}", offset, pinned=True)

    def _manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """Return a manifest or an index, and its sha256."""
        url = f"{self._repository}/manifests/{reference}"
        body, _ = self._client.reply(url, {"Accept": ", ".join(_MANIFESTS)})
        found = hashlib.sha256(body).hexdigest()
        if reference.startswith("sha256:") and reference != f"sha256:{found}":
            raise ModelChecksumMismatch(
                f"the manifest of {self._client.wording.address} is sha256:{found} and should be {reference}"
            )
        manifest = self._client.parsed(body)
        if not isinstance(manifest, dict):
            raise ModelInvalid(f"{self._client.wording.address} has a manifest that is none")
        return manifest, found


def _of_this_platform(manifests: list[dict[str, Any]], address: str) -> str:
    """Return the digest of the image for this machine, or of the only one."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    for manifest in manifests:
        wanted = manifest.get("platform") or {}
        if (wanted.get("os"), wanted.get("architecture")) == ("linux", machine):
            return str(manifest["digest"])
    if len(manifests) == 1:
        return str(manifests[0]["digest"])
    raise ModelInvalid(f"{address} has no image for linux/{machine}; build it for that platform too")


def _title(layer: dict[str, Any]) -> str | None:
    return (layer.get("annotations") or {}).get(_TITLE)


def _titled_file(layer: dict[str, Any]) -> RemoteFile:
    packed = layer["annotations"].get(_UNPACK) == "true"
    return RemoteFile(safe_path(str(_title(layer))), int(layer["size"]), layer["digest"], _sha256(layer), packed)


def _layer(number: int, layer: dict[str, Any]) -> RemoteFile:
    if layer["mediaType"].endswith("zstd"):
        raise ModelInvalid("a layer is compressed with zstd, which is not supported; build the image with gzip layers")
    return RemoteFile(f"layer-{number:04}", int(layer["size"]), layer["digest"], _sha256(layer), unpacks=True)


def _sha256(layer: dict[str, Any]) -> str:
    algorithm, _, digest = str(layer["digest"]).partition(":")
    if algorithm != "sha256":
        raise ModelInvalid(f"a layer has a digest of the kind {algorithm}, and only sha256 is supported")
    return digest
