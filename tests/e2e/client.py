"""An HTTPS client that reaches an Ingress by its address and verifies the certificate for its host name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import urllib3


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of one answer: parsed JSON, bytes of binary data, else text."""

    status: int
    headers: Any
    body: Any


@dataclass(frozen=True)
class IngressClient:
    """Speaks to `host` at the ingress controller's `address`; `ca` is the PEM file to verify its certificate by."""

    address: str
    host: str
    ca: str | None = None
    key: str | None = None
    path: str = "/"
    timeout_seconds: float = 60
    headers: dict[str, str] = field(default_factory=dict)
    connection: urllib3.HTTPConnectionPool | None = None
    """What requests are sent on; None: each on a connection of its own."""

    @contextmanager
    def connected(self) -> Iterator["IngressClient"]:
        """This client on one connection over HTTPS that stays open between requests."""
        with self._pool(https=True) as pool:
            yield replace(self, connection=pool)

    def request(self, method: str, path: str, *, https: bool = True, **options: Any) -> Answer:
        """Send one request to `path` below the service's path; redirects are not followed, nothing is retried."""
        headers = {"Host": self.host, **self.headers, **options.pop("headers", {})}
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.key}"
        url = self.path.rstrip("/") + "/" + path.lstrip("/")
        options |= {"headers": headers, "redirect": False, "retries": False}
        if self.connection is not None:
            response = self.connection.request(method, url, **options)
        else:
            with self._pool(https) as pool:
                response = pool.request(method, url, **options)
        return Answer(response.status, response.headers, _body(response))

    def score(self, data: Any, **options: Any) -> Answer:
        """POST `{"data": data}` to /score."""
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.request("POST", "score", body=json.dumps({"data": data}), headers=headers, **options)

    def _pool(self, https: bool) -> urllib3.HTTPConnectionPool:
        timeout = urllib3.Timeout(self.timeout_seconds)
        if not https:
            return urllib3.HTTPConnectionPool(self.address, 80, timeout=timeout)
        return urllib3.HTTPSConnectionPool(
            self.address,
            443,
            timeout=timeout,
            ca_certs=self.ca,
            server_hostname=self.host,
            assert_hostname=self.host,
        )


def _body(response: urllib3.BaseHTTPResponse) -> Any:
    content_type = response.headers.get("Content-Type", "")
    if "json" in content_type:
        return response.json()
    return response.data if "octet-stream" in content_type else response.data.decode()
