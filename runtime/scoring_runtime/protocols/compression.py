"""Compressing an answer for a client that asks for it."""

from __future__ import annotations

import zlib

from scoring_runtime.replies import Reply

# Below this, compression costs more than it saves.
MIN_BYTES = 1024
# The fastest level: the next ones save little and cost the time that a model could use.
_LEVEL = 1
# zlib's window sizes: 16 + 15 writes gzip, 15 the zlib format, which is what "deflate" means (RFC 9110, 8.4.1.2).
_WINDOWS = {"gzip": 31, "deflate": 15}


def accepted_encoding(accept: str | None) -> str:
    """Return gzip or deflate where an Accept-Encoding header names it, gzip first, otherwise an empty string."""
    if not accept:
        return ""
    accepted = set()
    for part in accept.lower().split(","):
        coding, _, parameters = part.partition(";")
        name, _, quality = parameters.strip().partition("=")
        refused = name.strip() == "q" and not quality.strip().strip("0.")
        if not refused:
            accepted.add(coding.strip())
    return next((coding for coding in _WINDOWS if coding in accepted), "")


def compressed(reply: Reply, encoding: str) -> Reply:
    """Return the reply with its body compressed, or as it is when that is not worth it."""
    if not encoding or len(reply.body) < MIN_BYTES:
        return reply
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[encoding])
    body = deflater.compress(reply.body) + deflater.flush()
    headers = [(name, value) for name, value in reply.headers if name != "Content-Length"]
    headers += [("Content-Length", str(len(body))), ("Content-Encoding", encoding)]
    return reply._replace(headers=headers, body=body)
