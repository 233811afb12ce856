"""The operator's authority and its certificates, judged by those who will judge them: OpenSSL and `cryptography`.

case                                     expected
the profile                              P-256, path length 0, server only, names, identifiers, 10 years and 90 days
the chain                                verifies for its names and for no other, now and not after its end
another authority, a client certificate  refused
a TLS handshake on loopback              works with ca.crt alone; another root or name is refused
renewal                                  at 2/3, for other names, another root, or what cannot be read
"""

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from scoring_operator.certificates import (
    Authority,
    Certificate,
    authority_needs_renewal,
    issue,
    needs_renewal,
    new_authority,
    renewal_time,
)
from tests.waiting import PATIENCE

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOST = "iris.example.com"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority(NOW)


@pytest.fixture(scope="module")
def leaf(authority: Authority) -> Certificate:
    return issue(authority, [HOST], NOW)


def extension(pem: bytes, kind: type) -> Any:
    return x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(kind).value


def test_the_root(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.certificate)
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert root.public_key().curve.name == "secp256r1"
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.value.ca, basic.value.path_length, basic.critical) == (True, 0, True)
    usage = extension(authority.certificate, x509.KeyUsage)
    assert usage.key_cert_sign
    assert root.not_valid_after_utc == NOW + 3650 * DAY
    assert root.not_valid_before_utc < NOW


def test_the_leaf(authority: Authority, leaf: Certificate) -> None:
    found = x509.load_pem_x509_certificate(leaf.certificate)
    assert leaf.ca == authority.certificate
    assert found.not_valid_after_utc == NOW + 90 * DAY
    assert not extension(leaf.certificate, x509.BasicConstraints).ca
    assert list(extension(leaf.certificate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extension(leaf.certificate, x509.KeyUsage).key_cert_sign
    assert extension(leaf.certificate, x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == [HOST]
    identifier = extension(authority.certificate, x509.SubjectKeyIdentifier).digest
    assert extension(leaf.certificate, x509.AuthorityKeyIdentifier).key_identifier == identifier
    assert extension(leaf.certificate, x509.SubjectKeyIdentifier).digest != identifier


def test_keys_do_not_show(authority: Authority, leaf: Certificate) -> None:
    assert "PRIVATE" not in repr(authority) + repr(leaf)


def verify(leaf: Certificate, ca: bytes, host: str, at: dt.datetime) -> None:
    store = verification.Store([x509.load_pem_x509_certificate(ca)])
    verifier = verification.PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(host))
    verifier.verify(x509.load_pem_x509_certificate(leaf.certificate), [])


@pytest.mark.parametrize("names", [[HOST], [HOST, "faq.example.com"], ["a" * 60 + ".models.example.com"]])
def test_the_chain_verifies(authority: Authority, names: list[str]) -> None:
    made = issue(authority, names, NOW)
    for name in names:
        verify(made, authority.certificate, name, NOW)
        verify(made, authority.certificate, name, NOW + 89 * DAY)


@pytest.mark.parametrize(
    ("host", "at"),
    [("other.example.com", NOW), (HOST, NOW + 91 * DAY), (HOST, NOW - DAY)],
    ids=["name", "late", "early"],
)
def test_the_chain_does_not_verify(authority: Authority, leaf: Certificate, host: str, at: dt.datetime) -> None:
    with pytest.raises(verification.VerificationError):
        verify(leaf, authority.certificate, host, at)


def test_another_authority_does_not_verify(leaf: Certificate) -> None:
    with pytest.raises(verification.VerificationError):
        verify(leaf, new_authority(NOW).certificate, HOST, NOW)


def test_a_leaf_cannot_sign(leaf: Certificate) -> None:
    """A certificate that a stolen leaf key signs is refused."""
    forged = issue(Authority(leaf.certificate, leaf.key), ["bank.example.com"], NOW)
    store = verification.Store([x509.load_pem_x509_certificate(leaf.ca)])
    verifier = (
        verification.PolicyBuilder().store(store).time(NOW).build_server_verifier(x509.DNSName("bank.example.com"))
    )
    with pytest.raises(verification.VerificationError):
        verifier.verify(
            x509.load_pem_x509_certificate(forged.certificate), [x509.load_pem_x509_certificate(leaf.certificate)]
        )


@contextmanager
def server(leaf: Certificate, folder: Path) -> Iterator[int]:
    """A TLS server on loopback that takes one connection; the port."""
    (folder / "tls.crt").write_bytes(leaf.certificate)
    (folder / "tls.key").write_bytes(leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)

    def answer() -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(b"hello")
        except OSError:
            connection.close()  # the client refused

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join()
        listener.close()


def greeting(port: int, host: str, ca: bytes) -> bytes:
    """What a client that trusts `ca` alone reads from the server under the name `host`."""
    context = ssl.create_default_context(cadata=ca.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        return secured.recv(16)


def test_a_real_handshake(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    authority = new_authority(now)
    leaf = issue(authority, [HOST], now)
    with server(leaf, tmp_path) as port:
        assert greeting(port, HOST, leaf.ca) == b"hello"
    with server(leaf, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        greeting(port, "other.example.com", leaf.ca)
    with server(leaf, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        greeting(port, HOST, new_authority(now).certificate)


def test_renewal_at_two_thirds(authority: Authority, leaf: Certificate) -> None:
    due = renewal_time(leaf.certificate)
    assert NOW + 59 * DAY < due < NOW + 61 * DAY
    assert not needs_renewal(leaf.certificate, due - dt.timedelta(seconds=1), [HOST], authority.certificate)
    assert needs_renewal(leaf.certificate, due, [HOST], authority.certificate)


def test_renewal_for_other_names(authority: Authority) -> None:
    pem = issue(authority, ["b.example.com", "a.example.com"], NOW).certificate
    assert not needs_renewal(pem, NOW, ["a.example.com", "b.example.com"], authority.certificate)
    assert needs_renewal(pem, NOW, ["a.example.com"], authority.certificate)
    assert needs_renewal(pem, NOW, ["a.example.com", "c.example.com"], authority.certificate)


def test_renewal_for_another_authority(leaf: Certificate) -> None:
    assert needs_renewal(leaf.certificate, NOW, [HOST], new_authority(NOW).certificate)


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_renewal_of_what_cannot_be_read(authority: Authority, leaf: Certificate, pem: bytes) -> None:
    assert needs_renewal(pem, NOW, [HOST], authority.certificate)
    assert needs_renewal(leaf.certificate, NOW, [HOST], pem)


def test_the_authority_is_renewed_while_it_can_still_sign_whole_lives(authority: Authority) -> None:
    assert not authority_needs_renewal(authority, NOW + 3559 * DAY)
    assert authority_needs_renewal(authority, NOW + 3561 * DAY)
    assert authority_needs_renewal(Authority(authority.certificate, new_authority(NOW).key), NOW)
    assert authority_needs_renewal(Authority(b"", b""), NOW)


def test_a_leaf_never_outlives_its_authority(authority: Authority) -> None:
    late = NOW + 3640 * DAY
    leaf = x509.load_pem_x509_certificate(issue(authority, [HOST], late).certificate)
    assert leaf.not_valid_after_utc == NOW + 3650 * DAY


def test_no_names_is_an_error(authority: Authority) -> None:
    with pytest.raises(ValueError, match="at least one DNS name"):
        issue(authority, [], NOW)
