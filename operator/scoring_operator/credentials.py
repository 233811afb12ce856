"""The secret values of services: their keys, and the certificates of the operator's own authority.

A value that exists is never replaced as long as it can be used, and nothing is made anew on the word of a cache: before
new keys are drawn, the API server is asked. No value is ever logged.
"""

import asyncio
import base64
import binascii
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from scoring_operator import naming
from scoring_operator.certificates import (
    Authority,
    Certificate,
    authority_needs_renewal,
    issue,
    needs_renewal,
    new_authority,
    renewal_time,
)
from scoring_operator.config import Settings
from scoring_operator.desired import self_signed_hosts
from scoring_operator.errors import NameConflict
from scoring_operator.keys import Keys, complete_keys, new_key
from scoring_operator.kinds import SECRET
from scoring_operator.kube import ApiUnavailableError, ConflictError, Kube, KubeObject
from scoring_operator.spec import Auth, ScoringService
from scoring_operator.store import Store, controller_uid

_CERTIFICATE, _KEY, _CA = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True)
class KeysFound:
    """The keys of a service, and whether any of them was drawn just now."""

    keys: Keys | None = None
    fresh: bool = False


@dataclass(frozen=True)
class CertificateFound:
    """The certificate of a service; None for one that the operator does not issue."""

    certificate: Certificate | None = None
    renew_at: dt.datetime | None = None
    fresh: bool = False
    """Whether it was issued just now."""
    renewed: bool = False
    """Whether it replaces one."""

    @property
    def ends(self) -> dt.datetime | None:
        """When the certificate ends (aware, UTC)."""
        if self.certificate is None:
            return None
        return x509.load_pem_x509_certificate(self.certificate.certificate).not_valid_after_utc


class SecretKeeper:
    """Finds or makes the secret values of services."""

    def __init__(self, kube: Kube, store: Store, settings: Settings, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._store = store
        self._settings = settings
        self._clock = clock
        self._authority: Authority | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def keys(self, service: ScoringService) -> KeysFound:
        """The keys of `service`. Raises NameConflict when its Secret's name is taken."""
        if service.auth is not Auth.KEY:
            return KeysFound()
        name = naming.keys_secret_name(service.name)
        known = self._store.get(SECRET, service.namespace, name)
        found = _completed(known)
        if not found.fresh:
            return found
        live = await self._kube.get(SECRET, service.namespace, name)
        if live is not None and controller_uid(live) != service.uid:
            raise NameConflict(SECRET.kind, service.namespace, name)
        return _completed(live)

    async def certificate(self, service: ScoringService, now: dt.datetime) -> CertificateFound:
        """The certificate that the operator issues for `service`, if any: the present one, or a new one when due."""
        hosts = self_signed_hosts(service, self._settings)
        if not hosts:
            return CertificateFound()
        authority = await self._current_authority(now)
        live = self._store.get(SECRET, service.namespace, naming.tls_secret_name(service.name))
        data = _decoded(live)
        pem, key = data.get(_CERTIFICATE, b""), data.get(_KEY, b"")
        if pem and key and not needs_renewal(pem, now, hosts, authority.certificate):
            return CertificateFound(Certificate(pem, key, authority.certificate), renewal_time(pem))
        certificate = issue(authority, hosts, now)
        return CertificateFound(certificate, renewal_time(certificate.certificate), fresh=True, renewed=bool(pem))

    async def _current_authority(self, now: dt.datetime) -> Authority:
        """The authority; its Secret is read again now and then, so that a replaced one is noticed."""
        async with self._lock:
            fresh = self._clock() - self._read_at < self._settings.resync_seconds
            if self._authority is None or not fresh or authority_needs_renewal(self._authority, now):
                self._authority = await self._read_or_make_authority(now)
                self._read_at = self._clock()
            return self._authority

    async def _read_or_make_authority(self, now: dt.datetime) -> Authority:
        namespace = self._settings.namespace
        live = await self._kube.get(SECRET, namespace, naming.AUTHORITY_SECRET)
        if live is None:
            made = new_authority(now)
            try:
                await self._kube.create(SECRET, _authority_secret(made, namespace))
            except ConflictError:  # another replica was faster
                live = await self._kube.get(SECRET, namespace, naming.AUTHORITY_SECRET)
            else:
                return made
        data = _decoded(live)
        authority = Authority(data.get(_CERTIFICATE, b""), data.get(_KEY, b""))
        if not authority_needs_renewal(authority, now):
            return authority
        made = new_authority(now)
        if live is None:  # it was there a moment ago and is gone again: the next pass makes it
            raise ApiUnavailableError(f"Secret {namespace}/{naming.AUTHORITY_SECRET} comes and goes")
        await self._kube.merge(SECRET, live, {"data": _authority_secret(made, namespace)["data"]})
        return made


def _completed(secret: KubeObject | None) -> KeysFound:
    drawn: list[str] = []

    def make() -> str:
        drawn.append(new_key())
        return drawn[-1]

    keys = complete_keys((secret or {}).get("data"), make)
    return KeysFound(keys, fresh=bool(drawn))


def _decoded(secret: Mapping[str, Any] | None) -> dict[str, bytes]:
    """The data of a Secret; an entry that is not base64 counts as missing."""
    found: dict[str, bytes] = {}
    for name, value in ((secret or {}).get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value, validate=True)
        except binascii.Error:
            continue
    return found


def _authority_secret(authority: Authority, namespace: str) -> KubeObject:
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {
            "name": naming.AUTHORITY_SECRET,
            "namespace": namespace,
            "labels": {naming.MANAGED_BY_LABEL: naming.FIELD_MANAGER},
        },
        "type": "kubernetes.io/tls",
        "data": {
            _CERTIFICATE: base64.b64encode(authority.certificate).decode(),
            _KEY: base64.b64encode(authority.key).decode(),
        },
    }
