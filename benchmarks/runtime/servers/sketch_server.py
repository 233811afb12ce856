"""The yardsticks: what a batching Flask app can do in the simplest form, and what granian alone can.

`python sketch_server.py flask` is a Flask route in front of a thread that scores what waits; `bare` answers {} as plain
WSGI and scores nothing.
"""

import json
import queue
import sys
import threading
from typing import Any

import model
from granian import Granian
from granian.constants import Interfaces


def flask_app() -> Any:
    """Return the sketch: batch when busy."""
    from flask import Flask, request

    app = Flask("sketch")
    _, predict = model.load()
    waiting: queue.SimpleQueue[tuple[Any, list[Any], threading.Event]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            batch = [waiting.get()]
            while len(batch) < model.MAX_BATCH and not waiting.empty():
                batch.append(waiting.get())
            for (_, answer, done), prediction in zip(batch, predict([row for row, _, _ in batch]), strict=True):
                answer.append(prediction)
                done.set()

    threading.Thread(target=work, daemon=True).start()

    @app.post("/predict")
    def score() -> Any:
        answer: list[Any] = []
        done = threading.Event()
        waiting.put((json.loads(request.get_data())["row"], answer, done))
        done.wait()
        return {"prediction": answer[0]}

    return app


def bare_app(environ: Any, start_response: Any) -> list[bytes]:
    """Answer {} to everything."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


def app() -> Any:
    """Return the app that the command line names."""
    return flask_app() if sys.argv[1] == "flask" else bare_app


if __name__ == "__main__":
    threads = 64 if sys.argv[1] == "flask" else 1
    Granian(
        "sketch_server:app", address="127.0.0.1", port=model.PORT, interface=Interfaces.WSGI, factory=True,
        workers=1, blocking_threads=threads, log_access=False,
    ).serve()  # fmt: skip
