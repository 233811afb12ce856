"""All calls of the Kubernetes API that the operator makes itself (kopf makes the watches).

Objects are plain dicts, as the API answers them. A call is repeated only where repeating can help: the server could not
be reached, was overloaded (429, with its Retry-After) or failed (5xx). Everything else is a typed error at once.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import aiohttp

from scoring_operator.connection import Connection
from scoring_operator.errors import OperatorError, Reason, Retry
from scoring_operator.kinds import Kind
from scoring_operator.naming import FIELD_MANAGER, REPLICAS_MANAGER

KubeObject = dict[str, Any]


class Listing(NamedTuple):
    """All objects of a kind, and the resource version of the moment they were so."""

    items: Sequence[KubeObject]
    version: str


_ATTEMPTS = 4
_LONGEST_RETRY_AFTER = 10.0
_PAGE = 500
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_WRONG_TYPE = "failed to create typed patch object"
"""How the API server begins, with status 500, where an applied object has a value of another type than its schema."""
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ApiError(OperatorError):
    """The API server refused a call; `status` is the HTTP status (0: it was not reached)."""

    def __init__(self, message: str, status: int = 0, api_reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.api_reason = api_reason
        """The `reason` of the server's Status object, such as `AlreadyExists`."""


class ApiUnavailableError(ApiError):
    """The server could not be reached, or failed or was overloaded each time it was tried."""

    reason: ClassVar[Reason] = Reason.API_UNAVAILABLE


class NotFoundError(ApiError):
    """There is no such object, namespace or kind."""

    reason: ClassVar[Reason] = Reason.API_UNAVAILABLE


class ConflictError(ApiError):
    """The object exists already, or changed since it was read."""

    reason: ClassVar[Reason] = Reason.API_UNAVAILABLE


class ForbiddenError(ApiError):
    """The operator lacks a permission, or a quota or an admission rule stands against the object."""

    reason: ClassVar[Reason] = Reason.FORBIDDEN


class UnauthorizedError(ApiError):
    """The server does not know who the operator is."""

    reason: ClassVar[Reason] = Reason.FORBIDDEN


class RejectedError(ApiError):
    """The server found the object itself wrong; only another spec (or another version of the operator) can help."""

    reason: ClassVar[Reason] = Reason.CHILD_REJECTED
    retry: ClassVar[Retry] = "backoff"


_ERRORS: Mapping[int, type[ApiError]] = {
    400: RejectedError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: RejectedError,
    409: ConflictError,
    413: RejectedError,
    415: RejectedError,
    422: RejectedError,
}


class Kube:
    """The API server, through one pooled HTTP session.

    `observe` is told method and status of every answer (status 0: no answer); metrics hang there.
    """

    def __init__(
        self, connection: Connection, timeout: float = 30, observe: Callable[[str, int], None] = lambda *_: None
    ) -> None:
        self._server = connection.server
        self._session = connection.session(connections=32)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._observe = observe

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> KubeObject | None:
        """The object, or None when there is none."""
        return await self._read(kind.path(namespace, name), _JSON)

    async def metadata(self, kind: Kind, namespace: str | None, name: str) -> KubeObject | None:
        """`{"metadata": …}` of the object, or None when there is none: cheap, and shows nothing of a Secret."""
        return await self._read(kind.path(namespace, name), _METADATA_ONLY)

    async def list(self, kind: Kind, namespace: str | None, selector: str = "", fields: str = "") -> Listing:
        """All objects of a kind in a namespace (None: in all), in pages, each with its kind and API version.

        `selector` and `fields` are a label and a field selector.
        """
        found: list[KubeObject] = []
        token = ""
        while True:
            query = {"limit": str(_PAGE)}
            if selector:
                query["labelSelector"] = selector
            if fields:
                query["fieldSelector"] = fields
            if token:
                query["continue"] = token
            try:
                page = await self._call("GET", kind.path(namespace), query=query)
            except ApiError as error:
                if error.status != 410 or not token:
                    raise
                found, token = [], ""  # the list got too old between two pages: start over
                continue
            for item in page.get("items") or []:
                found.append({"apiVersion": kind.api_version, "kind": kind.kind, **item})
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return Listing(found, str(page.get("metadata", {}).get("resourceVersion", "")))

    async def apply(self, kind: Kind, manifest: KubeObject) -> KubeObject:
        """Server-side apply `manifest` under the operator's field manager, taking over fields others own.

        https://kubernetes.io/docs/reference/using-api/server-side-apply/#using-server-side-apply-in-a-controller
        """
        metadata = manifest["metadata"]
        return await self._call(
            "PATCH",
            kind.path(metadata.get("namespace"), metadata["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )

    async def share_replicas(self, kind: Kind, target: KubeObject) -> KubeObject:
        """Own `spec.replicas` of `target` as it is now under a second field manager.

        Without another owner the API server would drop the field, and so set it to 1, once the operator stops applying
        it (https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership).
        """
        metadata = target["metadata"]
        return await self._call(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"]),
            query={"fieldManager": REPLICAS_MANAGER},
            body={
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
                "spec": {"replicas": target["spec"]["replicas"]},
            },
            content_type=_APPLY,
        )

    async def scale(self, kind: Kind, target: KubeObject, replicas: int) -> None:
        """Ask for so many pods of the object that `target` is, through its `/scale`."""
        metadata = target["metadata"]
        await self._call(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"]) + "/scale",
            query={"fieldManager": REPLICAS_MANAGER},
            body=_bound({"spec": {"replicas": replicas}}, metadata),
            content_type=_MERGE,
        )

    async def create(self, kind: Kind, manifest: KubeObject) -> KubeObject:
        """Create an object that must not exist yet. Raises ConflictError when it does."""
        path = kind.path(manifest["metadata"].get("namespace"))
        return await self._call("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)

    async def merge(self, kind: Kind, target: KubeObject, patch: KubeObject) -> KubeObject:
        """Merge `patch` into the object that `target` is (by its name and uid)."""
        return await self._merge(kind, target, patch, subresource="")

    async def merge_status(self, kind: Kind, target: KubeObject, status: KubeObject) -> KubeObject:
        """Merge `status` into the status of the object that `target` is (by its name and uid), and nothing else."""
        return await self._merge(kind, target, {"status": status}, subresource="/status")

    async def annotate(self, kind: Kind, target: KubeObject, annotations: Mapping[str, str]) -> KubeObject:
        """Set annotations of the object that `target` is, through its status: no right to change its spec is needed."""
        return await self._merge(kind, target, {"metadata": {"annotations": dict(annotations)}}, subresource="/status")

    async def delete(self, kind: Kind, target: KubeObject) -> None:
        """Delete exactly this object (by uid), its dependents in the background; one that is gone already is fine."""
        metadata = target["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        # Gone, or another object of that name by now: neither is ours to delete.
        with contextlib.suppress(NotFoundError, ConflictError):
            await self._call("DELETE", kind.path(metadata.get("namespace"), metadata["name"]), body=body)

    async def document(self, path: str) -> KubeObject | None:
        """A JSON document that is no resource, such as `/openid/v1/jwks`, or None when there is none."""
        return await self._read(path, "*/*")

    async def serves(self, kind: Kind) -> bool:
        """Whether the cluster serves the kind at all."""
        group = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        found = await self._read(group, _JSON)
        return found is not None and any(item["name"] == kind.plural for item in found.get("resources", []))

    async def _merge(self, kind: Kind, target: KubeObject, patch: KubeObject, subresource: str) -> KubeObject:
        metadata = target["metadata"]
        return await self._call(
            "PATCH",
            kind.path(metadata.get("namespace"), metadata["name"]) + subresource,
            query={"fieldManager": FIELD_MANAGER},
            body=_bound(patch, metadata),
            content_type=_MERGE,
        )

    async def _read(self, path: str, accept: str) -> KubeObject | None:
        try:
            return await self._call("GET", path, accept=accept)
        except NotFoundError:
            return None

    async def _call(  # noqa: PLR0913 - the parts of one HTTP request
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: KubeObject | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> KubeObject:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(1, _ATTEMPTS + 1):
            pause = random.uniform(0.5, 1) * 0.2 * 3 ** (attempt - 1)  # noqa: S311 - jitter
            try:
                async with self._session.request(
                    method, self._server + path, params=query, data=data, headers=headers, timeout=self._timeout
                ) as response:
                    self._observe(method, response.status)
                    if response.status < 300:
                        answer: KubeObject = await response.json(content_type=None)
                        return answer
                    error = await _error(f"{method} {path}", response)
                    pause = max(pause, _retry_after(response))
            except (aiohttp.ClientError, TimeoutError, OSError) as cause:
                self._observe(method, 0)
                error = ApiUnavailableError(f"the Kubernetes API did not answer {method} {path}: {_sentence(cause)}")
            if not isinstance(error, ApiUnavailableError) or attempt == _ATTEMPTS:
                raise error
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")


def _bound(patch: KubeObject, metadata: KubeObject) -> KubeObject:
    """The patch, for the object with this uid alone."""
    if "uid" not in metadata:
        return patch
    return {**patch, "metadata": {**patch.get("metadata", {}), "uid": metadata["uid"]}}


async def _error(what: str, response: aiohttp.ClientResponse) -> ApiError:
    try:
        answer = await response.json(content_type=None)
        message, api_reason = str(answer["message"]), str(answer.get("reason", ""))
    except (ValueError, TypeError, KeyError):
        message, api_reason = f"HTTP {response.status} to {what}", ""
    if message.startswith(_WRONG_TYPE):
        return RejectedError(message, response.status, api_reason)
    overloaded = response.status == 429 or response.status >= 500
    error_class = ApiUnavailableError if overloaded else _ERRORS.get(response.status, ApiError)
    return error_class(message, response.status, api_reason)


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds that the server asks to wait, within reason; 0 when it says nothing."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_RETRY_AFTER) if value.isdigit() else 0.0


def _sentence(cause: BaseException) -> str:
    return "it took too long" if isinstance(cause, TimeoutError) else str(cause) or type(cause).__name__
