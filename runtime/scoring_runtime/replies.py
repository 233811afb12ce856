"""The response of one request, before any web framework."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

import orjson

from scoring_runtime.errors import RequestError

JSON = "application/json"

# Also those without a name, which an entry script may answer with.
STATUS_LINES = {number: f"{number} Unknown" for number in range(100, 1000)}
STATUS_LINES |= {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Reply(NamedTuple):
    """What is sent back. `code` is the error's code, or empty."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    code: str = ""


def json_reply(body: bytes, status: int = 200) -> Reply:
    """Return a JSON response with `body`, which is JSON already."""
    return Reply(status, [("Content-Type", JSON), ("Content-Length", str(len(body)))], body)


def error_reply(error: RequestError, document: object) -> Reply:
    """Return the response for an error, with what a protocol writes of it."""
    reply = json_reply(orjson.dumps(document), error.status)
    reply.headers.extend(error.headers)
    return reply._replace(code=error.code)
