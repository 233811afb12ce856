"""An API server in memory, as far as the operator's `Kube` sees one, and a world around it for whole passes.

It merges applies by field manager, bumps resourceVersion and generation only where something changed, refuses what the
real one refuses (a wrong uid or resourceVersion, an object that exists), and sends watch events to whoever listens.
What it cannot do (defaulting, admission, merging lists) is tested on the real API server by the end-to-end tests.
"""

import base64
import copy
import datetime as dt
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from scoring_operator.config import Settings
from scoring_operator.control import ControlLoop
from scoring_operator.kinds import (
    CORE_EVENT,
    DEPLOYMENT,
    EVENT,
    HTTP_ROUTE,
    INGRESS_CLASS,
    MIDDLEWARE,
    SCALED_OBJECT,
    SCORING_SERVICE,
    SECRET,
    Kind,
)
from scoring_operator.kube import ConflictError, ForbiddenError, Listing, NotFoundError
from scoring_operator.naming import FIELD_MANAGER, REPLICAS_MANAGER
from scoring_operator.reconcile import Instruments
from scoring_operator.store import ServiceKey
from scoring_operator.tokens import CONFIGURATION_PATH, KEYS_PATH

READS = frozenset({"get", "metadata", "list", "serves", "document"})
GENERATED = frozenset({"Deployment", "Ingress", "ScoringService", "PodDisruptionBudget", "NetworkPolicy"})


class FakeKube:
    """Kube's methods on objects in memory; `calls` remembers each as (method, kind, name)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str, str], dict[str, Any]] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, Kind, str], Exception | None] = lambda *_: None
        self.served = {MIDDLEWARE, HTTP_ROUTE, SCALED_OBJECT}
        self.documents: dict[str, dict[str, Any]] = {
            CONFIGURATION_PATH: {"issuer": "https://kubernetes.default.svc.cluster.local"},
            KEYS_PATH: {"keys": [{"kid": "1", "kty": "RSA"}]},
        }
        self.listeners: list[Callable[[Kind, Mapping[str, Any]], None]] = []
        self._versions = itertools.count(100)
        self._names = itertools.count(1)

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        """The calls that were not reads and not Events."""
        return [call for call in self.calls if call[0] not in READS and call[1] != EVENT.kind]

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """(type, reason, note) of every Event posted."""
        found = [stored for (kind, _, _), stored in self.objects.items() if kind is EVENT]
        return [(event["type"], event["reason"], event["note"]) for event in found]

    async def close(self) -> None: ...

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        self._called("get", kind, name)
        return copy.deepcopy(self.objects.get((kind, namespace or "", name)))

    async def metadata(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        self._called("metadata", kind, name)
        found = self.objects.get((kind, namespace or "", name))
        return None if found is None else {"metadata": copy.deepcopy(found["metadata"])}

    async def list(self, kind: Kind, namespace: str | None, selector: str = "", fields: str = "") -> Listing:
        self._called("list", kind, selector)
        if kind in (MIDDLEWARE, HTTP_ROUTE, SCALED_OBJECT) and kind not in self.served:
            raise NotFoundError("the server could not find the requested resource", 404)
        wanted = dict(part.split("=") for part in selector.split(",")) if selector else {}
        found = [
            copy.deepcopy(stored)
            for (stored_kind, where, _), stored in self.objects.items()
            if stored_kind is kind
            and namespace in (None, where)
            and wanted.items() <= stored["metadata"].get("labels", {}).items()
            and (not fields or fields == f"regarding.uid={stored.get('regarding', {}).get('uid')}")
        ]
        return Listing(found, str(next(self._versions)))

    async def apply(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        metadata = manifest["metadata"]
        self._called("apply", kind, metadata["name"])
        live = self.objects.get((kind, metadata["namespace"], metadata["name"]))
        version = metadata.get("resourceVersion")
        if version is not None and (live is None or live["metadata"]["resourceVersion"] != version):
            raise ConflictError("the object has been modified", 409, "Conflict")
        new = copy.deepcopy(live) if live else {"metadata": {}}
        ours, others = _managers(new["metadata"].pop("managedFields", []))
        replicas = new.get("spec", {}).get("replicas")
        _remove_unwanted(new, ours.get("applied", {}), manifest)
        if others:
            new["spec"].setdefault("replicas", replicas)
        _merge_into(new, manifest)
        if kind is DEPLOYMENT:
            new["spec"].setdefault("replicas", 1)
        applied = copy.deepcopy(manifest)
        applied["metadata"].pop("resourceVersion", None)
        new["metadata"]["managedFields"] = [
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": _fields(applied), "applied": applied},
            *others,
        ]
        return self._store(kind, new, live)

    async def share_replicas(self, kind: Kind, target: dict[str, Any]) -> dict[str, Any]:
        return self._replicas("share_replicas", target, target["spec"]["replicas"], "Apply")

    async def scale(self, kind: Kind, target: dict[str, Any], replicas: int) -> None:
        self._replicas("scale", target, replicas, "Update")

    def _replicas(self, method: str, target: dict[str, Any], replicas: int, how: str) -> dict[str, Any]:
        """Whoever changes the number owns it alone; who applies what it is already owns it too."""
        metadata = target["metadata"]
        self._called(method, DEPLOYMENT, metadata["name"])
        live = self.objects.get((DEPLOYMENT, metadata["namespace"], metadata["name"]))
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            raise NotFoundError("not found", 404)
        new = copy.deepcopy(live)
        ours, _ = _managers(new["metadata"]["managedFields"])
        if new["spec"]["replicas"] != replicas:
            ours.get("fieldsV1", {}).get("f:spec", {}).pop("f:replicas", None)
            ours.get("applied", {}).get("spec", {}).pop("replicas", None)
        new["spec"]["replicas"] = replicas
        fields = {"f:spec": {"f:replicas": {}}}
        new["metadata"]["managedFields"] = [ours, {"manager": REPLICAS_MANAGER, "operation": how, "fieldsV1": fields}]
        return self._store(DEPLOYMENT, new, live)

    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        metadata = manifest["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}{next(self._names)}"
        self._called("create", kind, name)
        if (kind, metadata.get("namespace", ""), name) in self.objects:
            raise ConflictError(f"{name} already exists", 409, "AlreadyExists")
        return self._store(kind, {**copy.deepcopy(manifest), "metadata": {**metadata, "name": name}}, None)

    async def merge(self, kind: Kind, target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        return self._merged("merge", kind, target, patch)

    async def merge_status(self, kind: Kind, target: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        return self._merged("merge_status", kind, target, {"status": status})

    async def annotate(self, kind: Kind, target: dict[str, Any], annotations: Mapping[str, str]) -> dict[str, Any]:
        return self._merged("annotate", kind, target, {"metadata": {"annotations": dict(annotations)}})

    async def delete(self, kind: Kind, target: dict[str, Any]) -> None:
        metadata = target["metadata"]
        self._called("delete", kind, metadata["name"])
        live = self.objects.get((kind, metadata["namespace"], metadata["name"]))
        if live is not None and live["metadata"]["uid"] == metadata["uid"]:
            self.remove(kind, metadata["namespace"], metadata["name"])

    async def document(self, path: str) -> dict[str, Any] | None:
        self.calls.append(("document", "", path))
        return copy.deepcopy(self.documents.get(path))

    async def serves(self, kind: Kind) -> bool:
        self._called("serves", kind, "")
        return kind in self.served

    def put(self, kind: Kind, found: dict[str, Any]) -> dict[str, Any]:
        """What somebody else creates or changes: a watch event follows."""
        metadata = found["metadata"]
        live = self.objects.get((kind, metadata.get("namespace", ""), metadata["name"]))
        return self._store(kind, copy.deepcopy(found), live)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """What somebody else deletes."""
        gone = self.objects.pop((kind, namespace, name))
        self._tell(kind, "DELETED", gone)

    def change(self, kind: Kind, name: str, edit: Callable[[dict[str, Any]], None], namespace: str = "team") -> None:
        """What somebody else edits."""
        found = copy.deepcopy(self.objects[(kind, namespace, name)])
        edit(found)
        self.put(kind, found)

    def _merged(self, method: str, kind: Kind, target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        metadata = target["metadata"]
        self._called(method, kind, metadata["name"])
        live = self.objects.get((kind, metadata.get("namespace", ""), metadata["name"]))
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            raise NotFoundError("not found", 404)
        new = copy.deepcopy(live)
        _merge_patch(new, patch)
        return self._store(kind, new, live)

    def _store(self, kind: Kind, new: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
        metadata = new["metadata"]
        if live is not None and new == live:
            return copy.deepcopy(live)
        metadata["resourceVersion"] = str(next(self._versions))
        metadata.setdefault("uid", f"uid-{metadata['resourceVersion']}")
        if kind.kind in GENERATED:
            changed = live is None or live.get("spec") != new.get("spec")
            metadata["generation"] = (live or new)["metadata"].get("generation", 0) + int(changed)
        self.objects[(kind, metadata.get("namespace", ""), metadata["name"])] = new
        self._tell(kind, "ADDED" if live is None else "MODIFIED", new)
        return copy.deepcopy(new)

    def _tell(self, kind: Kind, what: str, found: dict[str, Any]) -> None:
        if kind in (EVENT, CORE_EVENT):
            return
        labels = found["metadata"].get("labels", {}).items()
        selected = dict(part.split("=") for part in kind.selector.split(",") if part).items() <= labels
        for listener in self.listeners if selected else ():
            listener(kind, {"type": what, "object": copy.deepcopy(found)})

    def _called(self, method: str, kind: Kind, name: str) -> None:
        self.calls.append((method, kind.kind, name))
        error = self.refuse(method, kind, name)
        if error is not None:
            raise error


class World:
    """A cluster in memory with one operator in it, whose time stands still until it is told to pass."""

    def __init__(self, **settings: Any) -> None:
        self.kube = FakeKube()
        self.settings = Settings(**{"runtime_images": {"sklearn": "sklearn:1", "pytorch": "pytorch:1"}, **settings})
        self.now = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
        self.seconds = 0.0
        self.loop = self.start()

    def start(self) -> ControlLoop:
        """A fresh operator that knows nothing."""
        instruments = Instruments(lambda: self.now, lambda: self.seconds, read_page=self.read_page)
        loop = ControlLoop(self.kube, self.settings, instruments)
        self.kube.listeners[:] = [self._listen]
        self.loop = loop
        return loop

    async def read_page(self, url: str) -> str:
        """What a pod answers to a GET; nothing here."""
        raise ConnectionRefusedError(f"nobody listens at {url}")

    def _listen(self, kind: Kind, event: Mapping[str, Any]) -> None:
        if kind in (SCORING_SERVICE, *self.loop.available):
            self.loop.on_event(kind, event)

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.now += dt.timedelta(seconds=seconds)

    def service(self, name: str = "iris", **spec: Any) -> dict[str, Any]:
        """Create or edit a ScoringService, as its user."""
        live = self.kube.objects.get((SCORING_SERVICE, "team", name))
        raw = (
            copy.deepcopy(live)
            if live
            else {
                "apiVersion": SCORING_SERVICE.api_version,
                "kind": SCORING_SERVICE.kind,
                "metadata": {"name": name, "namespace": "team"},
            }
        )
        written = {"model": {"uri": "s3://models/iris/3/", "framework": "sklearn"}, **spec}
        raw["spec"] = {key: value for key, value in written.items() if value is not None}
        return self.kube.put(SCORING_SERVICE, raw)

    async def settle(self, passes: int = 20) -> list[Exception]:
        """Do passes until none is asked for; returns the errors that passes ended with."""
        if not self.loop.available:
            await self.loop.resync()
        errors: list[Exception] = []
        queue = self.loop.queue
        for _ in range(passes):
            if not len(queue):
                return errors
            key = await queue.get()
            try:
                await self.loop._reconciler.reconcile(key)
            except Exception as error:
                errors.append(error)
            queue.done(key)
        raise AssertionError("the operator does not come to rest")

    async def again(self, name: str = "iris") -> list[Exception]:
        """One more pass without any event, as a timer would ask for."""
        self.loop.queue.add(ServiceKey("team", name))
        return await self.settle()

    def get(self, kind: Kind, name: str) -> dict[str, Any]:
        """An object of the namespace."""
        return self.kube.objects[(kind, "team", name)]

    def status(self, name: str = "iris") -> dict[str, Any]:
        """The status of a service."""
        return self.get(SCORING_SERVICE, name).get("status", {})

    def condition(self, kind: str, name: str = "iris") -> dict[str, Any]:
        """One condition of a service."""
        return next(found for found in self.status(name)["conditions"] if found["type"] == kind)

    def roll_out(self, name: str = "iris-default", ready: int | None = None, updated: int | None = None) -> None:
        """What the Deployment's controller and kubelet do; all pods ready unless fewer are said to be."""

        def finish(deployment: dict[str, Any]) -> None:
            wanted = deployment["spec"]["replicas"]
            deployment["status"] = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": wanted,
                "updatedReplicas": wanted if updated is None else updated,
                "readyReplicas": wanted if ready is None else ready,
                "availableReplicas": wanted if ready is None else ready,
            }
            deployment["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = "1"

        self.kube.change(DEPLOYMENT, name, finish)


def _managers(entries: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The entry of the operator's applies, and those of others."""
    ours = next((entry for entry in entries if entry["manager"] == FIELD_MANAGER), {})
    return ours, [entry for entry in entries if entry is not ours]


def _merge_into(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge_into(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def _remove_unwanted(target: dict[str, Any], before: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in before.items():
        if key not in wanted:
            target.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(wanted[key], Mapping) and isinstance(target.get(key), dict):
            _remove_unwanted(target[key], value, wanted[key])


def _merge_patch(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            _merge_patch(target.setdefault(key, {}), value)
        else:
            target[key] = copy.deepcopy(value)


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    skipped = ("apiVersion", "kind", "name", "namespace")
    return {f"f:{key}": _fields(inner) for key, inner in value.items() if key not in skipped}


TLS = {"host": "iris.example.com", "className": "traefik", "tls": {"selfSigned": True}}
"""An ingress with a certificate of the operator's own."""


def traefik(world: World) -> None:
    """Put Traefik's class of ingress into the cluster."""
    world.kube.put(
        INGRESS_CLASS,
        {"metadata": {"name": "traefik"}, "spec": {"controller": "traefik.io/ingress-controller"}},
    )


async def ready(**spec: object) -> World:
    """A world with a ready service in it, its calls so far forgotten."""
    world = World()
    traefik(world)
    world.service(**spec)
    assert await world.settle() == []
    world.roll_out()
    assert await world.settle() == []
    assert world.condition("Ready")["status"] == "True"
    world.kube.calls.clear()
    return world


def secret(world: World, name: str) -> dict[str, str]:
    """What a Secret of the team holds, decoded."""
    return {key: base64.b64decode(value).decode() for key, value in world.get(SECRET, name)["data"].items()}


__all__ = ["TLS", "FakeKube", "ForbiddenError", "World", "ready", "secret", "traefik"]
