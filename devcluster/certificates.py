"""The cluster's own certificate authority and the certificates that Kubernetes asks for.

Names and organisations are those of https://kubernetes.io/docs/setup/best-practices/certificates/.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devcluster import layout

LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class Subject:
    """Whom a certificate names. Kubernetes reads the common name as user, the organisation as group."""

    common_name: str
    organisation: str | None = None
    names: tuple[str, ...] = ()
    """DNS names and addresses of a server."""

    @property
    def x509_name(self) -> x509.Name:
        """The distinguished name."""
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)]
        if self.organisation:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organisation))
        return x509.Name(attributes)


@dataclass(frozen=True)
class KeyPair:
    """A private key with its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The key, unencrypted PKCS#8."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


SUBJECTS = {
    "apiserver": Subject(
        "kube-apiserver",
        names=(
            layout.LOOPBACK,
            layout.NODE_ADDRESS,
            layout.API_SERVICE_ADDRESS,
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ),
    ),
    "front-proxy-client": Subject("front-proxy-client"),
    "apiserver-kubelet-client": Subject("kube-apiserver-kubelet-client", "system:masters"),
    "admin": Subject("kubernetes-admin", "system:masters"),
    "controller-manager": Subject("system:kube-controller-manager"),
    "scheduler": Subject("system:kube-scheduler"),
    "proxy": Subject("system:kube-proxy"),
    "kubelet": Subject(
        f"system:node:{layout.NODE_NAME}", "system:nodes", names=(layout.NODE_NAME, layout.NODE_ADDRESS)
    ),
}


def new_authority(now: datetime) -> KeyPair:
    """A self-signed certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = Subject("devcluster-ca").x509_name
    builder = _builder(name, name, key, now).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return KeyPair(key, certificate)


def issue(authority: KeyPair, subject: Subject, now: datetime) -> KeyPair:
    """A certificate for a client, and for a server where the subject has names.

    It carries the authority's key identifier, without which Python 3.13 and later refuse it (RFC 5280, 4.2.1.1).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject.x509_name, authority.certificate.subject, key, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if subject.names:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in subject.names])
        builder = builder.add_extension(alternatives, critical=False)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(authority_key, critical=False)
    return KeyPair(key, builder.sign(authority.key, hashes.SHA256()))


def write_all(folder: Path) -> None:
    """Write ca.crt, a pair for each of SUBJECTS and the service-account signing key; nothing when they are there.

    Of a running cluster, which an older devcluster may have started, only the pairs that it lacks are written.
    """
    if (folder / "complete").exists():
        _add_missing(folder)
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.now(UTC)
    authority = new_authority(now)
    _write(folder, "ca", authority)
    for name, subject in SUBJECTS.items():
        _write(folder, name, issue(authority, subject, now))
    signer = ec.generate_private_key(ec.SECP256R1())
    _write(folder, "service-accounts", KeyPair(signer, authority.certificate))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "service-accounts.pub").write_bytes(signer.public_key().public_bytes(serialization.Encoding.PEM, public))
    (folder / "complete").touch()


def _add_missing(folder: Path) -> None:
    missing = [name for name in SUBJECTS if not (folder / f"{name}.crt").exists()]
    if missing:
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        authority = KeyPair(key, x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()))
        for name in missing:
            _write(folder, name, issue(authority, SUBJECTS[name], datetime.now(UTC)))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(folder: Path, name: str, pair: KeyPair) -> None:
    key = folder / f"{name}.key"
    key.touch(mode=0o600)
    key.write_bytes(pair.key_pem)
    (folder / f"{name}.crt").write_bytes(pair.certificate_pem)
