"""Ray Serve: one replica, batches of what waits, the throughput-optimised mode that its documentation names."""

import asyncio
import os
import signal
from typing import Any

import model
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
class Bench:
    """Reads {"row": …} and answers {"prediction": …}."""

    def __init__(self) -> None:
        """Read the model."""
        _, self._predict = model.load()

    @serve.batch(max_batch_size=model.MAX_BATCH, batch_wait_timeout_s=0)
    async def score(self, rows: list[Any]) -> list[Any]:
        """Score a batch."""
        return self._predict(rows)

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer one request."""
        return JSONResponse({"prediction": await self.score((await request.json())["row"])})


async def _until_told() -> None:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


if __name__ == "__main__":
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False,
        object_store_memory=80 * 1024 * 1024, _temp_dir=os.environ["BENCH_RAY_FOLDER"],
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": model.PORT}, logging_config={"enable_access_log": False})
    serve.run(Bench.bind(), route_prefix="/predict")
    asyncio.run(_until_told())
    ray.shutdown()
