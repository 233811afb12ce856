"""Reading a request body without ever holding more of it than is allowed."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

from scoring_runtime.errors import BodyTooLarge, BodyTooSlow, RequestInvalid, UnsupportedMediaType

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, WSGIEnvironment

_CHUNK = 64 * 1024
# zlib's window sizes: 16 + 15 reads gzip, 15 the zlib format, -15 bare deflate, which some clients send as "deflate".
_GZIP, _ZLIB, _BARE = 31, 15, -15
_ENCODINGS = "gzip, deflate"
# How much of a refused body is read and thrown away, in multiples of the limit: a client that is still sending would
# otherwise see a broken connection instead of the answer.
_DISCARDED = 4
# A body that breaks off at once is a client that went away; later it was too slow (see `stalled`), or both.
_SLOW_SECONDS = 0.5


def read_body(environ: WSGIEnvironment, limit: int) -> bytes:
    """Return the request's body, decompressed; at most `limit` bytes before and after.

    Raises BodyTooLarge, BodyTooSlow, UnsupportedMediaType for an unknown Content-Encoding, and RequestInvalid for
    damaged content.
    """
    stream = environ["wsgi.input"]
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared.isdigit():
        if int(declared) > limit:
            discard(stream, _DISCARDED * limit)
            raise _too_large(limit)
        started = time.monotonic()
        body = stream.read(int(declared))
        if len(body) != int(declared):
            if time.monotonic() - started > _SLOW_SECONDS:
                raise BodyTooSlow(f"{len(body)} of {declared} bytes came in time; send the body faster")
            raise RequestInvalid(f"the body ended after {len(body)} bytes, and Content-Length says {declared}")
    elif declared:
        raise RequestInvalid("Content-Length is not a number")
    elif environ.get("wsgi.input_terminated"):
        body = _read_chunked(stream, limit)
    else:
        body = b""
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    return decompressed(body, encoding.strip().lower(), limit) if encoding else body


def discard(stream: InputStream, size: int) -> None:
    """Read and forget at most about `size` bytes of what the client still sends."""
    for _ in range(size // _CHUNK + 1):
        if not stream.read(_CHUNK):
            return


def _read_chunked(stream: InputStream, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            discard(stream, _DISCARDED * limit)
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what a body holds, at most `limit` bytes. Raises as `read_body` does."""
    if encoding == "identity":
        return body
    if encoding in ("gzip", "x-gzip"):
        return _inflate(body, _GZIP, limit)
    if encoding == "deflate":
        return _inflate(body, _ZLIB if _has_zlib_header(body) else _BARE, limit)
    raise UnsupportedMediaType(
        f"Content-Encoding {encoding!r} is not supported; send the body as it is, or as {_ENCODINGS}",
        [("Accept-Encoding", _ENCODINGS)],
    )


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise RequestInvalid("the body is not what its Content-Encoding says, or it is damaged") from None
    if len(data) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise RequestInvalid("the compressed body is cut off, or something follows it")
    return data


def _has_zlib_header(body: bytes) -> bool:
    # RFC 1950, 2.2: the method is 8 and the first two bytes are a multiple of 31.
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than {limit} bytes (requestSettings.maxBodyBytes); send fewer rows a request"
    )
