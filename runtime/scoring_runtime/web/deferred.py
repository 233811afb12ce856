"""An answer that comes later, from another thread: what the web server and the application agree on, beyond WSGI.

WSGI answers a request by returning from a call, so a thread sleeps for each request that the model has not answered,
and waking it costs more than a small model does. A server that can do better puts a `Send` into the environ; the
application may then return AWAITED, and call `start_response` and that `Send` when the answer is there.
"""

from __future__ import annotations

from collections.abc import Callable

Send = Callable[[bytes], object]
"""Sends the response's body, after `start_response`; to be called once, from any thread."""

SEND = "scoring_runtime.send"
"""The environ's key of the `Send`; not there under a server, or below a middleware, that wants the answer at once."""

AWAITED: list[bytes] = []
"""What the application returns instead of a body. Known by its identity."""
