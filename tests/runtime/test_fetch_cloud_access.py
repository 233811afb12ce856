"""Who reads gs:// and az:// addresses: keys, tokens and identities, as their owners' libraries use them.

case                                            expected
a service account's key                         signs for a token, which opens the store
a key that was deleted, a token service down    ModelAccessDenied; asked again
a service principal, workload identity          a token from the login server, over TLS with a private authority
an authority that is not given                  ModelSourceUnavailable, and nothing sent
a wrong key, an old SAS token (Azurite)         ModelAccessDenied with what to put into the Secret
another account, another server than Azure's    SettingsInvalid, and no SAS token sent there
settings that cannot be                         SettingsInvalid, without the secret
"""

import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from scoring_runtime.fetch.azure_access import access_to
from tests.runtime import emulators
from tests.runtime.fetching import failure, run, set_environment
from tests.runtime.gate import Answer, Asked, Gate, gate_before
from tests.runtime.model_stores import AZURE_ACCOUNT, AZURE_KEY, AzureBlobs, GoogleStorage, connection

TOKEN = "the-token-of-the-store"


class TokenService:
    """Google's: gives a token for an assertion that the account's key signed."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = key.public_key()
        private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.pem = key.private_bytes(*private).decode()
        self.deleted = False

    def answer(self, asked: Asked) -> Answer:
        assertion = parse_qs(asked.body.decode())["assertion"][0]
        claims = jwt.decode(assertion, self.public, ["RS256"], audience="https://oauth2.googleapis.com/token")
        assert (claims["iss"], claims["scope"].endswith("read_only")) == ("reader@project.example", True)
        if self.deleted:
            return Answer(400, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}')
        given = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        return Answer(200, json.dumps(given).encode(), {"Content-Type": "application/json"})

    def key_file(self, base: str) -> str:
        return json.dumps(
            {
                "type": "service_account",
                "client_email": "reader@project.example",
                "private_key_id": "1",
                "private_key": self.pem,
                "token_uri": f"{base}/token",
            }
        )


@dataclass
class Google:
    store: Gate
    service: TokenService
    tokens: Gate


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    service = TokenService()
    files = GoogleStorage({"iris/model.joblib": b"x"})
    with gate_before(files) as store, gate_before(service) as tokens:
        store.token = TOKEN
        set_environment(
            monkeypatch,
            {"STORAGE_EMULATOR_HOST": store.base, "GOOGLE_CREDENTIALS": service.key_file(tokens.base)},
        )
        yield Google(store, service, tokens)


@pytest.mark.parametrize("as_file", [False, True])
def test_a_service_accounts_key(google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool) -> None:
    if as_file:
        (tmp_path / "key.json").write_text(google.service.key_file(google.tokens.base))
        monkeypatch.delenv("GOOGLE_CREDENTIALS")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert run("gs://models/iris/", tmp_path / "to") == {"model.joblib": b"x"}
    assert len(google.tokens.asked) == 1


def test_a_key_that_was_deleted(google: Google, tmp_path: Path) -> None:
    google.service.deleted = True
    found = failure("gs://models/iris/", tmp_path)
    assert (found.reason, "Google refuses the credentials (invalid_grant" in found.message) == (
        "ModelAccessDenied",
        True,
    ), found
    assert google.store.asked == []


def test_a_token_that_may_not_read(google: Google, tmp_path: Path) -> None:
    google.store.token = "another"
    found = failure("gs://models/iris/", tmp_path)
    assert (found.reason, "Storage Object Viewer" in found.message) == ("ModelAccessDenied", True)


def test_nobody_at_google(google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CREDENTIALS")
    found = failure("gs://models/iris/", tmp_path)
    assert (found.reason, "GOOGLE_CREDENTIALS" in found.message) == ("ModelAccessDenied", True)


@pytest.mark.parametrize("key", ["no JSON: s3cret", '{"type": "service_account", "private_key": "s3cret"}'])
def test_a_key_that_is_none(google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("GOOGLE_CREDENTIALS", key)
    found = failure("gs://models/iris/", tmp_path)
    assert (found.reason, "GOOGLE_CREDENTIALS is no" in found.message) == ("SettingsInvalid", True)
    assert "s3cret" not in found.message


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"items": [1]}', b'{"items": [{"name": "iris/model"}]}'])
def test_something_else_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    class Other:
        def answer(self, asked: Asked) -> Answer:
            return Answer(200, body)

    with gate_before(Other()) as gate:
        set_environment(monkeypatch, {"STORAGE_EMULATOR_HOST": gate.base})
        found = failure("gs://models/iris/", tmp_path)
    assert (found.reason, "check STORAGE_EMULATOR_HOST" in found.message) == ("ModelSourceUnavailable", True)


class LoginServer:
    """Microsoft's: gives a token for a secret or for the token of a pod."""

    def __init__(self) -> None:
        self.seen: list[dict[str, list[str]]] = []
        self.refuses = False

    def answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/openid-configuration"):
            base = f"https://{asked.headers['host']}/tenant"
            found = {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
            return Answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})
        self.seen.append(parse_qs(asked.body.decode()))
        given: dict[str, Any] = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        if self.refuses:
            given = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
        status = 401 if self.refuses else 200
        return Answer(status, json.dumps(given).encode(), {"Content-Type": "application/json"})


@dataclass
class Azure:
    store: Gate
    login: LoginServer
    authority: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the certificate to trust, in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    file.write_text(pem + key.private_bytes(*private).decode())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context, pem


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, certificate: tuple[ssl.SSLContext, str]) -> Iterator[Azure]:
    tls, pem = certificate
    login = LoginServer()
    with gate_before(AzureBlobs({"iris/model.joblib": b"x"}), tls) as store, gate_before(login, tls) as authority:
        store.token = TOKEN
        values = {
            "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=demo;BlobEndpoint={store.base}/demo",
            "AZURE_AUTHORITY_HOST": authority.base,
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": "client",
            "CA_CERTIFICATES": pem,
            # Where machines of Azure ask who they are; nobody is there.
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9",
        }
        set_environment(monkeypatch, values)
        yield Azure(store, login, authority.base)


@pytest.mark.parametrize("uri", ["az://models/iris/", "abfs://models@demo.dfs.core.windows.net/iris/model.joblib"])
def test_a_service_principal(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "the-secret")
    assert run(uri, tmp_path) == {"model.joblib": b"x"}
    assert azure.login.seen[0]["client_secret"] == ["the-secret"]
    assert azure.login.seen[0]["scope"][0].startswith("https://storage.azure.com/.default")


def test_workload_identity(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("the-token-of-the-pod")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    assert run("abfss://models@demo.dfs.core.windows.net/iris/", tmp_path / "to") == {"model.joblib": b"x"}
    assert azure.login.seen[0]["client_assertion"] == ["the-token-of-the-pod"]


def test_a_secret_that_is_refused(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "the-secret")
    azure.login.refuses = True
    found = failure("az://models/iris/", tmp_path)
    assert (found.reason, "Storage Blob Data Reader" in found.message) == ("ModelAccessDenied", True), found
    assert "the-secret" not in found.message
    assert azure.store.asked == []


def test_an_identity_that_may_not_read(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "the-secret")
    azure.store.denied = 403
    found = failure("az://models/iris/", tmp_path)
    assert found.reason == "ModelAccessDenied"
    assert found.message.startswith("403 on az://models/iris/; the identity needs the role Storage Blob Data Reader")


@pytest.mark.parametrize("authority", ["", "no PEM"])
def test_an_authority_that_is_not_given(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: str
) -> None:
    monkeypatch.setenv("CA_CERTIFICATES", authority)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    found = failure("az://models/iris/", tmp_path)
    assert found.reason == ("SettingsInvalid" if authority else "ModelSourceUnavailable")
    assert ("CA_CERTIFICATES holds no certificates" if authority else "certificate") in found.message


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "names no storage account"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "s3cret"}, "is not of the form NAME=VALUE"),
        ({"AZURE_STORAGE_ACCOUNT_NAME": "demo", "AZURE_STORAGE_CONNECTION_STRING": "AccountName=other"}, "another"),
        ({"AZURE_STORAGE_ACCOUNT_NAME": "demo", "AZURE_STORAGE_ACCOUNT_KEY": "not base64: s3cret"}, "base64"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    set_environment(monkeypatch, values)
    found = failure("az://models/iris/", tmp_path)
    assert (found.reason, said in found.message, "s3cret" in found.message) == ("SettingsInvalid", True, False), found


SAS_OF_DEMO = {"AZURE_STORAGE_ACCOUNT_NAME": "demo", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=s3cret"}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("abfs://models@other.dfs.core.windows.net/iris/", "another storage account than the address, other"),
        ("abfs://models@demo.dfs.example.com/iris/", "is no storage of Azure"),
        ("abfs://models@demo.dfs.evilcore.windows.net/iris/", "is no storage of Azure"),
        ("az://models/iris/?sv=1&sig=s3cret", "belongs into AZURE_STORAGE_SAS_TOKEN"),
    ],
)
def test_a_sas_token_is_for_its_account_at_azure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    set_environment(monkeypatch, SAS_OF_DEMO)
    found = failure(uri, tmp_path)
    assert (found.reason, said in found.message, "s3cret" in found.message) == ("SettingsInvalid", True, False), found


@pytest.mark.parametrize(
    ("account", "suffix", "connection", "endpoint"),
    [
        ("demo", "core.windows.net", "", "https://demo.blob.core.windows.net"),
        (None, None, "", "https://demo.blob.core.windows.net"),
        ("demo", "core.chinacloudapi.cn", "", "https://demo.blob.core.chinacloudapi.cn"),
        ("demo", "own.example", "AccountName=demo;EndpointSuffix=own.example", "https://demo.blob.own.example"),
        (None, None, "AccountName=demo;EndpointSuffix=own.example", "https://demo.blob.own.example"),
    ],
)
def test_where_an_account_is(account: str | None, suffix: str | None, connection: str, endpoint: str) -> None:
    found = access_to(account, suffix, {**SAS_OF_DEMO, "AZURE_STORAGE_CONNECTION_STRING": connection})
    assert (found.endpoint, found.credential) == (endpoint, "sv=1&sig=s3cret")


def test_nobody_at_azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gate_before(AzureBlobs({"public/model.joblib": b"x"})) as store, gate_before(store) as machine:
        machine.denied = 400
        values = {
            "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=demo;BlobEndpoint={store.base}/demo",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.base,
        }
        set_environment(monkeypatch, values)
        assert run("az://models/public/", tmp_path / "a") == {"model.joblib": b"x"}
        store.denied = 403
        found = failure("az://models/public/", tmp_path / "b")
    assert (found.reason, "there are no credentials" in found.message) == ("ModelAccessDenied", True)


def test_folders_of_data_lakes_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DataLake(AzureBlobs):
        def answer(self, asked: Asked) -> Answer:
            found = super().answer(asked)
            if asked.method == "HEAD" and asked.path.endswith("/iris"):
                return Answer(200, b"", {**found.headers, "x-ms-meta-hdi_isfolder": "true", "Content-Length": "0"})
            return found

    lake = DataLake({"iris": b"", "iris/model.joblib": b"x"})
    with gate_before(lake) as store:
        set_environment(monkeypatch, lake.environment(store.base))
        assert run("az://models/iris", tmp_path) == {"model.joblib": b"x"}


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulators.Azurite]:
    """The real emulator, which verifies what the small server takes on trust."""
    with emulators.azurite(tmp_path_factory.mktemp("azurite")) as store:
        store.put("iris/model.joblib", b"x" * 1000)
        yield store


@pytest.mark.slow
@pytest.mark.process
def test_a_wrong_key(azurite: emulators.Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = base64.b64encode(b"the key of another account").decode()
    set_environment(monkeypatch, {"AZURE_STORAGE_CONNECTION_STRING": connection(azurite.base, wrong)})
    found = failure("az://models/iris/model.joblib", tmp_path)
    assert found.reason == "ModelAccessDenied"
    assert "403 on az://models/iris/model.joblib; the account's key is not accepted" in found.message
    assert wrong not in found.message


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("hours", "works"), [(1, True), (-1, False)])
def test_a_sas_token(
    azurite: emulators.Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, works: bool
) -> None:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    now = datetime.datetime.now(datetime.UTC)
    token = generate_container_sas(
        AZURE_ACCOUNT,
        "models",
        AZURE_KEY,
        permission=ContainerSasPermissions(read=True, list=True),
        start=now - datetime.timedelta(hours=2),
        expiry=now + datetime.timedelta(hours=hours),
    )
    endpoint = f"AccountName=demo;BlobEndpoint={azurite.base}/demo"
    set_environment(monkeypatch, {"AZURE_STORAGE_CONNECTION_STRING": endpoint, "AZURE_STORAGE_SAS_TOKEN": f"?{token}"})
    if works:
        assert run("az://models/iris/", tmp_path) == {"model.joblib": b"x" * 1000}
    else:
        found = failure("az://models/iris/", tmp_path)
        assert (found.reason, "the SAS token is not accepted" in found.message) == ("ModelAccessDenied", True)
        assert "sig=" not in found.message
