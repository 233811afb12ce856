"""Access to S3 and what speaks like it, for fetching models and for collecting data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoring_runtime.errors import FrameworkMissing


def file_system(environment: Mapping[str, str], anonymous: bool = False, authorities: str | None = None) -> Any:
    """Return an fsspec file system for s3:// with the region, endpoint and credentials that `environment` names.

    Without credentials there, they are found as AWS' own libraries find them; `anonymous` uses none. `authorities` is a
    file of the certificate authorities to trust, None for the library's own. Raises FrameworkMissing.
    """
    try:
        import s3fs
    except ImportError:
        raise FrameworkMissing("s3:// addresses need the Python package s3fs, which this image does not have") from None
    at = endpoint(environment)
    client = {
        "endpoint_url": at,
        "verify": authorities,
        "region_name": environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
    }
    # A bucket as part of the host name works with AWS and seldom anywhere else.
    config: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}}
    if at:
        config["s3"] = {"addressing_style": "path"}
    names = {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY", "token": "AWS_SESSION_TOKEN"}
    given = {} if anonymous else {name: environment.get(variable) or None for name, variable in names.items()}
    return s3fs.S3FileSystem(
        anon=anonymous,
        client_kwargs=client,
        config_kwargs=config,
        use_listings_cache=False,
        skip_instance_cache=True,
        **given,
    )


def endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the address of what is asked instead of AWS, or None."""
    return environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
