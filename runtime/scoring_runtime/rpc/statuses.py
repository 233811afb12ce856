"""What a refused request is in gRPC's words."""

from __future__ import annotations

import grpc

from scoring_runtime.errors import RequestError

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    431: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: RequestError) -> grpc.StatusCode:
    """Return the gRPC status that means what the error's HTTP status means."""
    return _CODES.get(error.status, grpc.StatusCode.INTERNAL)


def trailers_of(error: RequestError) -> tuple[tuple[str, str], ...]:
    """Return what goes beside the status: the error's code, and for how long a client should hold back.

    `grpc-retry-pushback-ms` is what gRPC's own retries obey
    (https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback).
    """
    metadata = [("scoring-error-code", error.code)]
    for name, value in error.headers:
        if name.lower() == "retry-after" and value.isdigit():
            metadata.append(("grpc-retry-pushback-ms", str(int(value) * 1000)))
        elif name.lower() == "www-authenticate":
            metadata.append(("www-authenticate", value))
    return tuple(metadata)
