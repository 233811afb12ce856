"""The three ways to a certificate, and what a service without one says.

case                              expected
tls.selfSigned                    verified by the CA in the Secret (in test_serving.py)
tls.secretName, present           the given certificate is served
tls.secretName, missing           IngressReady=False, naming the Secret; Ready once it is there
tls.secretName, replaced          the new certificate is served; no request fails, on new connections or an old one
tls.issuer                        cert-manager's annotation and Secret name on the Ingress
ingress class unknown             IngressReady=False, naming the class
"""

import datetime
import ssl
from dataclasses import replace

import pytest
import yaml

from tests.e2e.cluster import Namespace, eventually
from tests.e2e.test_autoscaling import requests_at_a_time
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e


def own_certificate(host: str) -> tuple[str, str]:
    """PEM certificate (its own CA) and key for `host`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: who trusts two authorities finds the right one by it.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {serial}")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), pem_key.decode()


def tls_secret(name: str, host: str) -> dict:
    """A Secret with a new certificate for `host`, which is its own CA."""
    certificate, key = own_certificate(host)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": certificate},
    }


def give_certificate(namespace: Namespace) -> str:
    """Write a new certificate into the Secret given-tls; returns it as PEM."""
    secret = tls_secret("given-tls", namespace.host)
    namespace.run("apply", "-f", "-", input=yaml.safe_dump(secret))
    return secret["stringData"]["tls.crt"]


def test_a_given_secret_is_waited_for_served_and_replaced(namespace: Namespace, iris: dict) -> None:
    host = namespace.host
    spec = {**iris, "ingress": {"className": "traefik", "host": host, "tls": {"secretName": "given-tls"}}}
    namespace.apply("given", spec)
    eventually(lambda: namespace.condition("given", "IngressReady").get("reason") == "TLSSecretNotFound")
    assert "given-tls" in namespace.condition("given", "IngressReady")["message"]

    first = give_certificate(namespace)
    namespace.wait_ready("given")
    client = namespace.client("given")
    eventually(lambda: served(client, host, first), what="the given certificate to be served")
    assert eventually_answered(client, FLOWERS).status == 200

    either = namespace.scratch / "either.crt"
    either.write_text(first)
    client = replace(client, ca=str(either))
    with client.connected() as old, requests_at_a_time(old, 1, FLOWERS) as on_one:
        eventually(lambda: on_one, what="an answer on the connection that stays")
        second = give_certificate(namespace)
        either.write_text(first + second)
        with requests_at_a_time(client, 2, FLOWERS) as on_many:
            eventually(lambda: served(client, host, second), what="the new certificate to be served")
            answered = len(on_many)
            eventually(lambda: len(on_many) > answered + 20, what="answers with the new certificate")
    assert {*on_one, *on_many} == {200}
    assert namespace.condition("given", "IngressReady")["status"] == "True"


def served(client: object, host: str, certificate: str) -> bool:
    """Whether the ingress controller shows this very certificate for the host."""
    import socket

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((client.address, 443), timeout=PATIENCE) as raw,
        context.wrap_socket(raw, server_hostname=host) as tls,
    ):  # type: ignore[attr-defined]
        shown = tls.getpeercert(binary_form=True)
    return shown == ssl.PEM_cert_to_DER_cert(certificate)


def test_an_issuer_is_asked_by_annotation(namespace: Namespace, iris: dict) -> None:
    spec = {**iris, "ingress": {"className": "traefik", "host": namespace.host, "tls": {"issuer": "letsencrypt"}}}
    namespace.apply("issued", spec)
    ingress = eventually(lambda: namespace.get("ingress", "issued"))
    assert ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "letsencrypt"
    assert ingress["spec"]["tls"] == [{"hosts": [namespace.host], "secretName": "issued-tls"}]
    eventually(lambda: namespace.condition("issued", "IngressReady").get("status") == "False")
    assert "issued-tls" in namespace.condition("issued", "IngressReady")["message"]


def test_an_unknown_class_is_named(namespace: Namespace, iris: dict) -> None:
    spec = namespace.published(iris)
    spec["ingress"]["className"] = "no-such-class"
    namespace.apply("lost", spec)
    eventually(lambda: namespace.condition("lost", "IngressReady").get("status") == "False")
    assert "no-such-class" in namespace.condition("lost", "IngressReady")["message"]
