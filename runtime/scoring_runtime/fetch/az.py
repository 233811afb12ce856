"""az://container/path and abfs://container@account.dfs.core.windows.net/path: Azure Blob Storage and Data Lake Storage.

One blob, or all blobs below a prefix, as with s3://. In the first form the account is that of
`AZURE_STORAGE_ACCOUNT_NAME` or of `AZURE_STORAGE_CONNECTION_STRING`. Access comes from a connection string, from
`AZURE_STORAGE_ACCOUNT_KEY`, from `AZURE_STORAGE_SAS_TOKEN`, or from Microsoft Entra: a service principal
(`AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`), workload identity or a managed identity, as Azure's own
library finds them. Without any, the blobs are read anonymously.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scoring_runtime.errors import (
    FrameworkMissing,
    ModelAccessDenied,
    ModelNotFound,
    ModelSourceUnavailable,
    SettingsInvalid,
)
from scoring_runtime.fetch.azure_access import SAS, Access, access_to
from scoring_runtime.fetch.source import (
    BLOCK_BYTES,
    PARALLEL_BLOCKS,
    Listing,
    RemoteFile,
    safe_path,
    shown,
)
from scoring_runtime.settings import Settings

_ADDRESS = re.compile(
    r"(?:az|abfss?)://(?P<container>[a-z0-9$][a-z0-9-]*)(?:@(?P<account>[a-z0-9]+)\.(?:dfs|blob)\.(?P<suffix>[a-z0-9.-]+))?/(?P<path>.+)",
    re.ASCII,
)


def open_source(uri: str, settings: Settings) -> AzureSource:
    """Open an az://, abfs:// or abfss:// address."""
    if "?" in uri:
        raise SettingsInvalid(
            f"SCORING_MODEL_URI={shown(uri)!r}: leave out the query; a SAS token belongs into {SAS} of the Secret"
        )
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise SettingsInvalid(
            f"SCORING_MODEL_URI={uri!r}: write az://CONTAINER/PATH or "
            "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"
        )
    logging.getLogger("azure").setLevel(logging.WARNING)
    return AzureSource(uri, found["container"], found["path"], access_to(found["account"], found["suffix"]))


class AzureSource:
    """One blob or prefix."""

    def __init__(self, uri: str, container: str, path: str, access: Access) -> None:
        self._uri = uri
        self._path = path
        self._access = access
        self._container = _container(container, access)

    def listing(self) -> Listing:
        """See `Source.listing`."""
        with self._explained():
            return self._listing()

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return offset, self._blocks(file, offset)

    def _listing(self) -> Listing:
        from azure.core.exceptions import ResourceNotFoundError

        if not self._path.endswith("/"):
            try:
                blob = self._container.get_blob_client(self._path).get_blob_properties()
                if not _is_folder(blob):
                    name = self._path.rpartition("/")[2]
                    return Listing((RemoteFile(name, blob.size, _key(blob)),), is_folder=False)
            except ResourceNotFoundError:
                pass
        prefix = self._path.rstrip("/") + "/"
        files = tuple(
            RemoteFile(safe_path(blob.name.removeprefix(prefix)), blob.size, _key(blob))
            for blob in self._container.list_blobs(name_starts_with=prefix, include=["metadata"])
            if not blob.name.endswith("/") and not _is_folder(blob)
        )
        if not files:
            raise ModelNotFound(f"404 on {self._uri}; there is no such blob, and none below it")
        return Listing(files, is_folder=True)

    def _blocks(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        from azure.core import MatchConditions

        if file.size is not None and offset >= file.size:
            return
        tag, _, name = file.key.partition(" ")
        with self._explained():
            yield from (
                self._container.get_blob_client(name)
                .download_blob(
                    offset=offset,
                    etag=tag,
                    match_condition=MatchConditions.IfNotModified,
                    max_concurrency=PARALLEL_BLOCKS,
                )
                .chunks()
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from azure.core import exceptions

        try:
            yield
        except exceptions.ResourceNotFoundError as error:
            raise ModelNotFound(f"404 on {self._uri}; there is no such blob or container ({_said(error)})") from error
        except exceptions.ClientAuthenticationError as error:
            raise ModelAccessDenied(f"{self._status(error)}; {self._access.remedy} ({_said(error)})") from error
        except exceptions.HttpResponseError as error:
            if error.status_code in (401, 403):
                raise ModelAccessDenied(f"{self._status(error)}; {self._access.remedy} ({_said(error)})") from error
            where = f"{error.status_code} on {self._uri}" if error.status_code else f"the transfer of {self._uri} broke"
            raise ModelSourceUnavailable(f"{where} ({_said(error)})") from error
        except (exceptions.AzureError, OSError) as error:
            raise ModelSourceUnavailable(f"{self._uri} cannot be read: {_said(error)}") from error

    def _status(self, error: Any) -> str:
        return f"{getattr(error, 'status_code', None) or 'no token'} on {self._uri}"


def _container(name: str, access: Access) -> Any:
    try:
        from azure.storage.blob import BlobServiceClient
    except ImportError:
        raise FrameworkMissing(
            "az:// and abfs:// addresses need the Python package azure-storage-blob, which this image does not have"
        ) from None
    service = BlobServiceClient(
        access.endpoint,
        credential=access.credential,
        max_single_get_size=BLOCK_BYTES,
        max_chunk_get_size=BLOCK_BYTES,
        connection_timeout=10,
        read_timeout=30,
        # A fetch tries again by itself, and says so.
        retry_total=0,
        connection_verify=access.bundle or True,
    )
    return service.get_container_client(name)


def _is_folder(blob: Any) -> bool:
    """Whether it is what Data Lake Storage keeps for a folder."""
    return (blob.metadata or {}).get("hdi_isfolder") == "true"


def _key(blob: Any) -> str:
    return f"{blob.etag} {blob.name}"


def _said(error: BaseException) -> str:
    """Return the code that Azure gives an error, or its first line; the whole quotes the request."""
    code = getattr(error, "error_code", None)
    lines = str(getattr(error, "message", None) or error).splitlines()
    return str(getattr(code, "value", code) or " ".join(lines[:1]))[:200] or type(error).__name__
