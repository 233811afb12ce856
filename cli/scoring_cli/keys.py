"""`kubectl scoring keys`: read a service's two keys and replace one of them."""

from __future__ import annotations

from dataclasses import dataclass

from scoring_cli.cluster import Cluster, ClusterError, Secret

SLOTS = ("primary", "secondary")
_VISIBLE_CHARACTERS = 4


@dataclass(frozen=True)
class KeysReport:
    """A service's keys and, after a rotation, which of them was replaced."""

    service: str
    namespace: str
    keys: dict[str, str]
    rotated: str | None = None

    def text(self, *, show: bool) -> str:
        """Return what the command prints; without `show` only the first characters, which tell two keys apart."""
        lines = [f"{slot:<10} {self._printed(slot, show)}{self._remark(slot)}" for slot in SLOTS]
        if self.rotated:
            other = _other(self.rotated)
            lines += [
                "",
                f"Hand out the {other} key: it has not changed and works all the time.",
                f"The old {self.rotated} key ends, and the new one begins, when the kubelet has refreshed the mounted",
                "Secret in every pod: up to two minutes. Pods are not restarted.",
            ]
        return "\n".join(lines)

    def _printed(self, slot: str, show: bool) -> str:
        key = self.keys[slot]
        return key if show else f"{key[:_VISIBLE_CHARACTERS]}…"

    def _remark(self, slot: str) -> str:
        return "  (new)" if slot == self.rotated else ""


def read_keys(cluster: Cluster, service: str) -> KeysReport:
    """Read both keys. Raises ClusterError when the service has none or one is missing."""
    return KeysReport(service, cluster.namespace, _decoded(_secret(cluster, service), service))


def rotate_key(cluster: Cluster, service: str, slot: str) -> KeysReport:
    """Replace the key `slot` ("primary" or "secondary") by a new random one; the other key is not touched."""
    from scoring_operator.keys import new_key

    secret = _secret(cluster, service)
    keys = _decoded(secret, service) | {slot: new_key()}
    cluster.replace_secret_value(secret, slot, keys[slot].encode("ascii"))
    return KeysReport(service, cluster.namespace, keys, rotated=slot)


def _secret(cluster: Cluster, service: str) -> Secret:
    """Read the Secret with the keys; where there is none because the service asks for none, say that instead."""
    from scoring_operator.naming import keys_secret_name

    try:
        return cluster.read_secret(keys_secret_name(service))
    except ClusterError:
        reason = _why_without_keys(cluster, service)
        if reason is None:
            raise
        raise ClusterError(reason) from None


def _why_without_keys(cluster: Cluster, service: str) -> str | None:
    """Return how callers get in where there are no keys; None when that is not known, or there should be keys."""
    try:
        auth = cluster.read_service(service).get("spec", {}).get("auth") or {}
    except ClusterError:
        return None
    if auth.get("type") == "None":
        return f"{service} has no keys: everybody may call it (auth: {{type: None}})."
    if auth.get("type") != "Token":
        return None
    token = auth.get("token") or {}
    audience = token.get("audience") or f"{service}.{cluster.namespace}"
    if token.get("issuer"):
        return f"{service} has no keys: it takes tokens of {token['issuer']} for the audience {audience}."
    return (
        f"{service} has no keys: it takes tokens of this cluster. Make one with "
        f"`kubectl create token SERVICEACCOUNT --audience {audience}`."
    )


def _decoded(secret: Secret, service: str) -> dict[str, str]:
    missing = [slot for slot in SLOTS if not secret.data.get(slot)]
    if missing:
        raise ClusterError(
            f"Secret {secret.name} has no {' and no '.join(missing)} key. The operator adds what is missing: look at "
            f"`kubectl scoring status {service}`."
        )
    return {slot: secret.data[slot].decode("ascii", "replace").strip() for slot in SLOTS}


def _other(slot: str) -> str:
    return SLOTS[1 - SLOTS.index(slot)]
