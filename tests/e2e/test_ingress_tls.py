"""The three ways to a certificate, and what a service without one says.

case                              expected
tls.selfSigned                    verified by the CA in the Secret (in test_serving.py)
tls.secretName, present           the given certificate is served
tls.secretName, missing           IngressReady=False, naming the Secret; Ready once it is there
tls.issuer                        cert-manager's annotation and Secret name on the Ingress
ingress class unknown             IngressReady=False, naming the class
"""

import datetime
import ssl

import pytest

from tests.e2e.cluster import Namespace, eventually
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
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
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


def test_a_given_secret_is_waited_for_and_served(namespace: Namespace, iris: dict) -> None:
    host = namespace.host
    spec = {**iris, "ingress": {"className": "traefik", "host": host, "tls": {"secretName": "given-tls"}}}
    namespace.apply("given", spec)
    eventually(lambda: namespace.condition("given", "IngressReady").get("reason") == "TLSSecretNotFound")
    assert "given-tls" in namespace.condition("given", "IngressReady")["message"]

    certificate, key = own_certificate(host)
    (namespace.scratch / "tls.crt").write_text(certificate)
    (namespace.scratch / "tls.key").write_text(key)
    files = [f"--cert={namespace.scratch / 'tls.crt'}", f"--key={namespace.scratch / 'tls.key'}"]
    namespace.run("create", "secret", "tls", "given-tls", *files)
    namespace.run(
        "patch",
        "secret",
        "given-tls",
        "--type=merge",
        "-p",
        '{"stringData": {"ca.crt": "' + certificate.replace("\n", "\\n") + '"}}',
    )
    namespace.wait_ready("given")
    client = namespace.client("given")
    eventually(lambda: served(client, host, certificate), what="the given certificate to be served")
    assert eventually_answered(client, FLOWERS).status == 200


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
