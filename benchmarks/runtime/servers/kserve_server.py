"""KServe's Python server: its Model class, one worker, no gRPC, no log line for each request."""

from typing import Any

import kserve
import model


class Bench(kserve.Model):
    """A scikit-learn model, as KServe's own server for scikit-learn wraps it."""

    def load(self) -> bool:
        """Read the model."""
        _, self._predict = model.load()
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Answer one V1 request."""
        return {"predictions": self._predict(payload["instances"])}


if __name__ == "__main__":
    bench = Bench(model.NAME)
    bench.load()
    kserve.ModelServer(http_port=model.PORT, workers=1, enable_grpc=False, enable_latency_logging=False).start([bench])
