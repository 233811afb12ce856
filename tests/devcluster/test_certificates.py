"""Certificates, checked as a TLS library and Kubernetes would.

- a strict verifier (Python 3.13's defaults) accepts the chain
- the API server's certificate covers every address it is reached by
- users and groups are those that Kubernetes' built-in roles are bound to
- a second run keeps what is there and adds what an older cluster lacks; keys are readable by their owner only
"""

import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import NameOID

from devcluster import certificates, layout
from devcluster.paths import Paths

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> certificates.KeyPair:
    return certificates.new_authority(NOW)


def verify(authority: certificates.KeyPair, leaf: x509.Certificate, host: str, at: datetime) -> None:
    store = verification.Store([authority.certificate])
    verifier = verification.PolicyBuilder().store(store).time(at)
    verifier.build_server_verifier(x509.DNSName(host)).verify(leaf, [])


def test_a_strict_verifier_accepts_the_chain(authority: certificates.KeyPair) -> None:
    pair = certificates.issue(authority, certificates.SUBJECTS["apiserver"], NOW)
    verify(authority, pair.certificate, "kubernetes.default.svc", NOW + timedelta(days=3000))


def test_another_authority_is_not_accepted(authority: certificates.KeyPair) -> None:
    pair = certificates.issue(certificates.new_authority(NOW), certificates.SUBJECTS["apiserver"], NOW)
    with pytest.raises(verification.VerificationError):
        verify(authority, pair.certificate, "kubernetes.default.svc", NOW)


def test_the_api_server_has_every_name_it_is_reached_by(authority: certificates.KeyPair) -> None:
    pair = certificates.issue(authority, certificates.SUBJECTS["apiserver"], NOW)
    names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {layout.LOOPBACK, layout.NODE_ADDRESS, layout.API_SERVICE_ADDRESS}
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    ("client", "user", "group"),
    [
        ("admin", "kubernetes-admin", "system:masters"),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("proxy", "system:kube-proxy", None),
        ("kubelet", f"system:node:{layout.NODE_NAME}", "system:nodes"),
    ],
)
def test_user_and_group(authority: certificates.KeyPair, client: str, user: str, group: str | None) -> None:
    subject = certificates.issue(authority, certificates.SUBJECTS[client], NOW).certificate.subject
    groups = [one.value for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == user
    assert groups == ([group] if group else [])


def test_files_are_written_once_and_load_as_a_client_certificate(paths: Paths) -> None:
    certificates.write_all(paths.pki)
    written = {file.name: file.read_bytes() for file in paths.pki.iterdir()}
    certificates.write_all(paths.pki)
    assert {file.name: file.read_bytes() for file in paths.pki.iterdir()} == written
    assert {f"{name}.{kind}" for name in certificates.SUBJECTS for kind in ("crt", "key")} < set(written)
    for key in paths.pki.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    context = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
    context.load_cert_chain(paths.pki / "admin.crt", paths.pki / "admin.key")


def test_an_interrupted_run_is_done_again(paths: Paths) -> None:
    certificates.write_all(paths.pki)
    (paths.pki / "complete").unlink()
    (paths.pki / "admin.crt").unlink()
    certificates.write_all(paths.pki)
    authority = x509.load_pem_x509_certificate((paths.pki / "ca.crt").read_bytes())
    x509.load_pem_x509_certificate((paths.pki / "admin.crt").read_bytes()).verify_directly_issued_by(authority)


def test_a_pair_that_an_older_cluster_lacks_is_added_by_the_same_authority(paths: Paths) -> None:
    certificates.write_all(paths.pki)
    before = {file.name: file.read_bytes() for file in paths.pki.iterdir() if "front-proxy" not in file.name}
    for suffix in ("crt", "key"):
        (paths.pki / f"front-proxy-client.{suffix}").unlink()
    certificates.write_all(paths.pki)
    authority = x509.load_pem_x509_certificate(before["ca.crt"])
    added = x509.load_pem_x509_certificate((paths.pki / "front-proxy-client.crt").read_bytes())
    added.verify_directly_issued_by(authority)
    assert {name: (paths.pki / name).read_bytes() for name in before} == before
