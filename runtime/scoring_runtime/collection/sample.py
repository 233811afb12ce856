"""One request that was chosen to be collected, between the thread that answered it and the one that writes it down.

Bodies are referred to and not copied. Of the headers only those that say what a body is are ever looked at.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from scoring_runtime.replies import Reply

BODY = "scoring.collected_body"
"""The environ's key of a list, there if the request was chosen: whoever reads the body puts it in. Without a body (no
credential, too large) there is nothing to collect."""
HEADER_LENGTH = "HTTP_INFERENCE_HEADER_CONTENT_LENGTH"


Plain: TypeAlias = tuple[float, float, str, str, bytes, bytes]
"""What nearly all requests of most services are: small JSON that this server read, answered with 200 and JSON that it
wrote. When it started, how long it took, path, id, the request's body, the answer's. A bare tuple, which the garbage
collector need not look through, and which holds on to nothing else of the request."""


class Sample(NamedTuple):
    """A request and its answer.

    `started` is a time in seconds since 1970, `size` what it takes in memory in bytes; `header_length` says that the
    body is in V2's binary form.
    """

    started: float
    size: int
    seconds: float
    path: str
    request_id: str
    content_type: str
    header_length: str | None
    body: bytes
    reply: Reply


class Frame(NamedTuple):
    """A table that an entry script collects by itself, under a name; `rows` is JSON, `request_id` the script's own."""

    started: float
    size: int
    name: str
    request_id: str
    rows: bytes
