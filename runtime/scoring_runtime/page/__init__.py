"""GET /ui: a page on which a person tries the model, without another program.

One document with its style and its script inside, so that it needs nothing but this server; its Content-Security-Policy
lets it load nothing else, and run no other script. It holds nothing about the model: that is at /ui/model, which asks
for the credential that the rest of the description asks for. The browser keeps no credential and no data.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import orjson

from scoring_runtime.errors import not_loaded
from scoring_runtime.frameworks import ScriptedModel
from scoring_runtime.protocols import ServedModel, examples
from scoring_runtime.protocols.call import Described
from scoring_runtime.protocols.routes import Asked, ReadingRoute
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import TensorSpec

PATH, MODEL_PATH = "/ui", "/ui/model"
_NAMES = {"object": "text", "bool": "true or false"}


def routes(settings: Settings, serving: Serving) -> tuple[ReadingRoute, ...]:
    """Return the page, open to everybody, and what it shows of the model, which follows SCORING_DOCS_AUTH."""
    document, policy = page()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(document))),
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    ]
    served = ServedModel(settings.model_name, settings.model_version)

    def describe(asked: Asked) -> Reply:
        if asked.model is None or not asked.ready:
            raise not_loaded()
        signature = asked.model.signature
        images = examples.takes_images(asked.model)
        about = {
            "name": served.name,
            "version": served.version,
            "framework": settings.framework,
            "platform": asked.model.platform,
            "methods": asked.model.methods,
            "secured": settings.auth != "none",
            "inputs": [_described(spec, images) for spec in signature.inputs],
            "outputs": [_described(spec) for spec in signature.outputs],
            "image": images,
            "sample": _sample(serving) or (None if images else _example(asked.model)),
        }
        reply = json_reply(orjson.dumps(about))
        reply.headers.append(("Cache-Control", "no-store"))
        return reply

    return (
        ReadingRoute(PATH, lambda asked: Reply(200, list(headers), document), "A page to try the model on"),
        ReadingRoute(MODEL_PATH, describe, "What the page shows of the model", open=False),
    )


def page() -> tuple[bytes, str]:
    """Return the document, and the policy that lets its own style and script run and nothing else."""
    folder = files(__package__ or "")
    document, style, script = ((folder / name).read_text("utf-8") for name in ("page.html", "style.css", "script.js"))
    whole = document.replace("/* STYLE */", style).replace("/* SCRIPT */", script)
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "connect-src": "'self'",
        # The chosen file's preview; the empty icon keeps browsers from asking for one.
        "img-src": "blob: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return whole.encode(), "; ".join(f"{name} {value}" for name, value in policy.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _described(spec: TensorSpec, image: bool = False) -> dict[str, Any]:
    kind = "image file" if image else _NAMES.get(spec.dtype, spec.dtype)
    return {"name": spec.name, "type": kind, "shape": spec.shape}


def _example(model: Described) -> Any:
    row = examples.row(model)
    return None if row is None else {"data": [row]}


def _sample(serving: Serving) -> Any:
    """Return the request that the model's folder or the script's schema has as a sample, or None."""
    content, model = serving.sample, serving.model
    if content is None and isinstance(model, ScriptedModel):
        content = model.sample_body()
    try:
        return orjson.loads(content) if content is not None else None
    except orjson.JSONDecodeError:
        # A script may take anything.
        return None


__all__ = ["MODEL_PATH", "PATH", "page", "routes"]
