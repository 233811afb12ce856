"""/healthz for kubelet and /metrics for Prometheus, on a port of their own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from scoring_operator.config import Settings
from scoring_operator.metrics import Metrics

_CLOSE_WITHIN = 1.0


@asynccontextmanager
async def health_server(settings: Settings, metrics: Metrics, problem: Callable[[], str]) -> AsyncIterator[None]:
    """Serve while inside the context; `problem` says in one sentence what is wrong, or nothing.

    Raises OSError when the port cannot be bound.
    """
    if settings.health_port == 0:
        yield
        return

    async def healthz(_: web.Request) -> web.Response:
        wrong = problem()
        return web.Response(text=f"{wrong or 'ok'}\n", status=503 if wrong else 200)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", exposition)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CLOSE_WITHIN)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.health_host, settings.health_port).start()
        yield
    finally:
        await runner.cleanup()
