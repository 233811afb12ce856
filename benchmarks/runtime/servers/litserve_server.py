"""LitServe: one worker, batches of what waits, no log line for each request.

On one core its default queue is faster than the ZeroMQ one, and no delay better than the shortest.
"""

from typing import Any

import litserve
import model


class Bench(litserve.LitAPI):
    """Reads {"row": …} and answers {"prediction": …}."""

    def setup(self, device: str) -> None:
        """Read the model, in the worker."""
        self._decode, self._predict = model.load()

    def decode_request(self, request):  # without an annotation, which LitServe would read
        """Return the row."""
        return self._decode(request["row"])

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Put rows together."""
        return inputs

    def predict(self, x: list[Any]) -> list[Any]:
        """Score a batch."""
        return self._predict(list(x))

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Take a batch apart."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the answer of one request."""
        return {"prediction": output}


if __name__ == "__main__":
    api = Bench(max_batch_size=model.MAX_BATCH, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=model.PORT, num_api_servers=1, log_level="warning", generate_client_file=False)
