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

    Raises SettingsInvalid when no account is named, or two different ones are.
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
    protocol = connection.get("defaultendpointsprotocol", "https")
    default = f"{protocol}://{named}.blob.{suffix or connection.get('endpointsuffix', PUBLIC_CLOUD)}"
    credential, remedy = _credential(named, connection, environment)
    return Access(connection.get("blobendpoint", default), credential, remedy, bundle())


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
