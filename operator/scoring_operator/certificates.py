"""The operator's own certificate authority: a self-signed root and the certificates of hosts that ask for `selfSigned`.

Everything is a function of values and of the time it is given. Profiles follow RFC 5280: the root may sign leaves and
nothing else (path length 0), leaves are for servers only, and both carry the key identifiers that let a client build
the chain when an old and a new root are both around.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = dt.timedelta(days=3650)
LEAF_LIFETIME = dt.timedelta(days=90)
_CLOCK_SKEW = dt.timedelta(minutes=5)
_MAX_COMMON_NAME = 64


@dataclass(frozen=True)
class Authority:
    """A root certificate and its key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Certificate:
    """A server's certificate and key with the root it is verified against, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes


def new_authority(now: dt.datetime) -> Authority:
    """A fresh root, good for ten years from `now` (an aware datetime)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"scoring-operator {now:%Y-%m-%d}")])
    public = key.public_key()
    certificate = (
        _builder(name, name, public, now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=_pem(certificate), key=_key_pem(key))


def issue(authority: Authority, dns_names: Sequence[str], now: dt.datetime) -> Certificate:
    """A certificate for `dns_names` (at least one), signed by `authority` and good for 90 days from `now`.

    It never outlives the authority. Raises ValueError when `dns_names` is empty.
    """
    if not dns_names:
        raise ValueError("a certificate needs at least one DNS name")
    root = x509.load_pem_x509_certificate(authority.certificate)
    root_key = cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(authority.key, password=None))
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    lifetime = min(LEAF_LIFETIME, root.not_valid_after_utc - now)
    certificate = (
        _builder(_leaf_name(dns_names[0]), root.subject, public, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names]),
            critical=len(dns_names[0]) > _MAX_COMMON_NAME,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_issuer_identifier(root), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return Certificate(certificate=_pem(certificate), key=_key_pem(key), ca=authority.certificate)


def needs_renewal(pem: bytes, now: dt.datetime, dns_names: Sequence[str], ca: bytes) -> bool:
    """Whether `pem` is to be replaced: unreadable, past 2/3 of its life, for other names or by another root."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
        root = x509.load_pem_x509_certificate(ca)
        leaf.verify_directly_issued_by(root)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return True
    return sorted(names.get_values_for_type(x509.DNSName)) != sorted(dns_names) or now >= renewal_time(pem)


def authority_needs_renewal(authority: Authority, now: dt.datetime) -> bool:
    """Whether the root must be replaced: unreadable, not a pair, or too near its end to sign a leaf's whole life."""
    try:
        root = x509.load_pem_x509_certificate(authority.certificate)
        key = serialization.load_pem_private_key(authority.key, password=None)
    except (ValueError, TypeError):
        return True
    return key.public_key() != root.public_key() or now >= root.not_valid_after_utc - LEAF_LIFETIME


def renewal_time(pem: bytes) -> dt.datetime:
    """When two thirds of the certificate's life are over (aware, UTC). Raises ValueError for what is no certificate."""
    leaf = x509.load_pem_x509_certificate(pem)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.not_valid_before_utc + life * 2 / 3


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _leaf_name(host: str) -> x509.Name:
    """A readable subject; empty where the host is longer than a common name may be (clients read the SAN)."""
    if len(host) > _MAX_COMMON_NAME:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_identifier(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_key = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
