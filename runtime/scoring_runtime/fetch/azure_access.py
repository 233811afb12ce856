"""Which account of Azure Storage, and with what access: from the environment, that is the model's Secret."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring_runtime.errors import FrameworkMissing, SettingsInvalid
from scoring_runtime.fetch.trust import bundle

NAME, KEY, SAS, CONNECTION = (
    f"AZURE_STORAGE_{part}" for part in ("ACCOUNT_NAME", "ACCOUNT_KEY", "SAS_TOKEN", "CONNECTION_STRING")
)
PUBLIC_CLOUD = "core.windows.net"
CLOUDS = (PUBLIC_CLOUD, "core.chinacloudapi.cn", "core.usgovcloudapi.net", "storage.azure.net")
"""What Microsoft's own storage ends with; an address elsewhere gets credentials only where the Secret names it too."""
STORAGE_SCOPE = "https://storage.azure.com/.default"
_NOBODY = (
    f"there are no credentials: name a Secret in model.credentials.secretName with {CONNECTION}, {KEY} or {SAS} "
    "(or let the pods run as an identity of Azure)"
)


@dataclass(frozen=True)
class Access:
    """How an account is reached."""

    endpoint: str
    """The address of its blobs."""
    credential: Any
    """As azure-storage-blob takes it; None: anonymous."""
    remedy: str
    """What to do when it is refused."""
    bundle: str | None
    """A file of the authorities to trust; None: those of the library."""


def access_to(account: str | None, suffix: str | None, environment: Mapping[str, str] = os.environ) -> Access:
    """Return the access to the account that an address names, or to that of the environment.

    An address may be a registry's choice, so what is in the environment is given to the account that it is for, and to
    nobody's server but Azure's. Raises SettingsInvalid when no account is named, or two different ones are.
    """
    connection = _connection(environment.get(CONNECTION, ""))
    named = account or environment.get(NAME) or connection.get("accountname")
    if not named:
        raise SettingsInvalid(
            f"the address names no storage account; put {NAME} or {CONNECTION} into the Secret, or write "
            "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"
        )
    if connection and connection.get("accountname", named) != named:
        raise SettingsInvalid(f"{CONNECTION} is that of another storage account than {named}; put the right one there")
    if (environment.get(KEY) or environment.get(SAS)) and environment.get(NAME, named) != named:
        raise SettingsInvalid(f"{NAME} says another storage account than the address, {named}; make them the same")
    credential, remedy = _credential(named, connection, environment)
    return Access(_endpoint(named, suffix, connection), credential, remedy, bundle())


def _endpoint(account: str, suffix: str | None, connection: Mapping[str, str]) -> str:
    """Return the address of an account's blobs. Raises SettingsInvalid for one that is neither Azure's nor given."""
    if "blobendpoint" in connection:
        return connection["blobendpoint"]
    given = connection.get("endpointsuffix", PUBLIC_CLOUD)
    if suffix and suffix != given and not any(suffix == cloud or suffix.endswith(f".{cloud}") for cloud in CLOUDS):
        raise SettingsInvalid(
            f"the address ends with {suffix}, which is no storage of Azure; if it is yours, put a {CONNECTION} with "
            f"EndpointSuffix={suffix} into the Secret"
        )
    return f"{connection.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix or given}"


def _connection(text: str) -> dict[str, str]:
    """Return the parts of a connection string by name, in lower case."""
    parts = [part.partition("=") for part in text.strip().split(";") if part]
    if any(not separator for _, separator, _ in parts):
        raise SettingsInvalid(f"{CONNECTION} is not of the form NAME=VALUE;NAME=VALUE; copy it as Azure shows it")
    return {name.strip().lower(): value.strip() for name, _, value in parts}


def _credential(account: str, connection: Mapping[str, str], environment: Mapping[str, str]) -> tuple[Any, str]:
    key = connection.get("accountkey") or environment.get(KEY)
    if key:
        _check_base64(key)
        return {"account_name": account, "account_key": key}, "the account's key is not accepted"
    sas = connection.get("sharedaccesssignature") or environment.get(SAS)
    if sas:
        return sas.removeprefix("?"), "the SAS token is not accepted; it must allow to read and to list, and be in time"
    identity = _identity(environment)
    if identity is not None:
        return identity, "the identity needs the role Storage Blob Data Reader"
    return None, _NOBODY


def _check_base64(key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except ValueError:
        raise SettingsInvalid(f"the account's key is no base64; copy it as Azure shows it into {KEY}") from None


def _identity(environment: Mapping[str, str]) -> Any:
    """Return the pod's identity, or None where there is none."""
    try:
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise FrameworkMissing(
            "az:// and abfs:// addresses need the Python package azure-identity, which this image does not have"
        ) from None
    identity = DefaultAzureCredential(
        exclude_developer_cli_credential=True,
        exclude_cli_credential=True,
        exclude_powershell_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_visual_studio_code_credential=True,
        exclude_broker_credential=True,
        # Another authority than Microsoft's own is not to be asked for at Microsoft's.
        disable_instance_discovery="AZURE_AUTHORITY_HOST" in environment,
        connection_verify=bundle() or True,
    )
    try:
        identity.get_token(STORAGE_SCOPE)
    except ClientAuthenticationError:
        # An identity that is named and refused is a mistake, which its use will tell; none at all is none.
        return identity if _names_identity(environment) else None
    return identity


def _names_identity(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID"))
