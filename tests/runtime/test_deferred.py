"""Answers that come later, from the queue's threads; that they are the right ones is tested with those that do not.

case                                   expected
the model hangs                        504 at the time limit, 503 for those without a slot, and then all places are free
the model is slow, the client waits    its answer, with what every response has
a large result                         encoded in a thread of its own, not in the model's
a large body                           answered in the request's own thread
several methods at once                the same
an answer that cannot be sent          the queue goes on
a server that cannot wait              is answered at once
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import orjson
import pytest
from flask import Flask

from scoring_runtime.batching import BatchQueue, Limits, QueueItem
from scoring_runtime.frameworks import Model
from scoring_runtime.protocols import ServedModel, routes_of
from scoring_runtime.serving import Serving
from scoring_runtime.tensors import Tensors
from scoring_runtime.web.deferred import AWAITED, SEND
from scoring_runtime.web.front import REQUEST_ID
from scoring_runtime.web.scoring import ScoringEndpoint
from tests.runtime.conftest import awaiting
from tests.runtime.models import Held
from tests.waiting import PATIENCE, until


class Everybody:
    def check(self, authorization: str | None) -> None:
        pass


@pytest.fixture
def held() -> Any:
    model = Held()
    yield model
    model.go_on.set()


def post(app: Flask, body: Any) -> Any:
    return app.test_client().post("/score", json=body, headers={"x-ms-client-request-id": "mine"})


def test_a_model_that_hangs(make_app: Any, held: Held) -> None:
    app = make_app(held, max_concurrent=2, max_queue_wait_milliseconds=50, timeout_seconds=2, batch_max_size=1)
    app.wsgi_app = awaiting(app.wsgi_app)
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(post, app, {"data": [[1]]}) for _ in range(3)]
        found = sorted(answer.result(PATIENCE).status_code for answer in answers)
    assert found == [503, 504, 504]
    assert app.test_client().get("/load").get_json() == {"busy": 1, "queued": 0, "slots": 2}
    held.go_on.set()
    until(lambda: app.test_client().get("/load").get_json()["busy"] == 0)
    assert post(app, {"data": [[3]]}).get_json() == [[3]]
    metrics = app.test_client().get("/metrics").text
    for status, count in (("200", 1), ("503", 1), ("504", 2)):
        assert f'scoring_requests_total{{code="{status}",protocol="azure"}} {count}.0' in metrics


def test_a_client_that_waits(make_app: Any, held: Held) -> None:
    app = make_app(held)
    app.wsgi_app = awaiting(app.wsgi_app)
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(post, app, {"data": [[1], [2]]})
        held.go_on.set()
        response = answer.result(PATIENCE)
    assert (response.status_code, response.get_json()) == (200, [[1], [2]])
    assert response.headers["x-ms-client-request-id"] == "mine"
    assert response.headers["x-ms-run-function-failed"] == "False"
    assert float(response.headers["x-ms-run-fn-exec-ms"]) >= 0


class Direct:
    """An endpoint of one protocol around a model, asked without a web server."""

    def __init__(self, model: Any, path: str = "/score") -> None:
        self.serving = Serving(Limits())
        self.serving.load(lambda: model)
        (route,) = (one for one in routes_of(ServedModel("model", "default")).scoring if one.path == path)
        self._endpoint = ScoringEndpoint(route, self.serving, Everybody(), 10**7)  # type: ignore[arg-type]
        self.answered = threading.Event()

    def begin(self, body: Any) -> Any:
        """Return the reply if it comes at once; else `thread` is where it came later."""
        encoded = orjson.dumps(body)
        environ: dict[str, Any] = {
            "wsgi.input": BytesIO(encoded),
            "CONTENT_LENGTH": str(len(encoded)),
            "CONTENT_TYPE": "application/json",
            REQUEST_ID: "id",
        }

        def ready(handler: Any) -> None:
            self.reply = handler(environ)
            self.thread = threading.current_thread().name
            self.answered.set()

        return self._endpoint.begin(environ, ready)


@pytest.mark.parametrize(("columns", "thread"), [(4, "model"), (100_000, "large-answer")])
def test_who_encodes(columns: int, thread: str) -> None:
    class Wide(Held):
        def predict(self, inputs: Tensors, method: str) -> Tensors:
            return Tensors((np.zeros((len(inputs), columns)),))

    direct = Direct(Wide())
    assert direct.begin({"data": [[0]]}) is None
    assert direct.answered.wait(PATIENCE)
    assert direct.thread == thread
    assert orjson.loads(direct.reply.body) == [[0] * columns]
    until(lambda: direct.serving.admission.inside == 0)
    direct.serving.close()


def test_a_large_body_is_answered_in_the_requests_thread() -> None:
    direct = Direct(Held())
    reply = direct.begin({"data": [[0.0]] * 10_000})
    assert orjson.loads(reply.body) == [[0]] * 10_000
    assert not direct.answered.is_set()
    assert direct.serving.admission.inside == 0
    direct.serving.close()


def test_several_methods(iris_model: Model) -> None:
    direct = Direct(iris_model, "/v2/models/model/infer")
    row = {"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
    reply = direct.begin({"inputs": [row], "outputs": [{"name": "predict"}, {"name": "predict_proba"}]})
    assert [output["name"] for output in orjson.loads(reply.body)["outputs"]] == ["predict", "predict_proba"]
    assert direct.serving.admission.inside == 0
    direct.serving.close()


def test_an_answer_that_cannot_be_sent(caplog: pytest.LogCaptureFixture) -> None:
    def broken(item: QueueItem) -> None:
        raise SystemExit(1)

    queue = BatchQueue(Held(), Limits())  # type: ignore[arg-type]
    row = Tensors((np.zeros((1, 1)),))
    queue.submit(QueueItem(row, "predict", broken))
    assert queue.score(row, "predict").arrays[0].tolist() == [[0]]
    queue.close()
    assert "answering a request raised SystemExit" in caplog.text


def test_a_server_that_cannot_wait(make_app: Any, held: Held) -> None:
    app = make_app(held)
    bodies: list[Any] = []

    def watched(environ: Any, start_response: Any) -> Any:
        assert SEND not in environ
        bodies.append(inner(environ, start_response))
        return bodies[-1]

    inner, app.wsgi_app = app.wsgi_app, watched
    assert post(app, {"data": [[0]]}).get_json() == [[0]]
    assert bodies[0] is not AWAITED
