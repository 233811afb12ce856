"""`/swagger.json` of an entry script: its own file, or what its schema decorators say, in Swagger 2 or OpenAPI 3."""

from __future__ import annotations

from typing import Any

import orjson

from scoring_runtime.errors import NotFound, not_loaded
from scoring_runtime.frameworks.script.model import ScriptModel
from scoring_runtime.protocols.routes import Asked, ServedModel
from scoring_runtime.replies import Reply, json_reply

# What a client may ask for → the version that is meant, and the files in which a script may bring it.
_VERSIONS = {
    "2": ("2.0", ("swagger.json", "swagger2.json")),
    "2.0": ("2.0", ("swagger.json", "swagger2.json")),
    "3": ("3.0", ("swagger3.json",)),
    "3.0": ("3.0", ("swagger3.json",)),
    "3.1": ("3.1", ("swagger3.1.json",)),
}
_DEFAULT = "2"
_JSON = "application/json"


class ScriptDescriber:
    """Answers GET /swagger.json; `secured` says whether requests need a credential."""

    def __init__(self, served: ServedModel, secured: bool) -> None:
        self._served = served
        self._secured = secured

    def __call__(self, asked: Asked) -> Reply:
        """Return the description. Raises NotFound where there is none, NotReady while the script is being loaded."""
        wanted = asked.query.get("version", _DEFAULT)
        if wanted not in _VERSIONS:
            raise NotFound(f"there is no version {wanted[:20]!r} of Swagger; known are {', '.join(_VERSIONS)}")
        model = asked.model
        if not isinstance(model, ScriptModel):
            raise not_loaded()
        version, files = _VERSIONS[wanted]
        for name in files:
            file = model.folder / name
            if file.is_file():
                return json_reply(file.read_bytes())
        if version not in model.entry.swagger_versions():
            raise NotFound(
                f"the script has no schema that Swagger {version} can say; decorate run() with @input_schema, "
                f"or put {files[0]} into the model's folder"
            )
        return json_reply(orjson.dumps(self._document(model, version, asked.base), option=orjson.OPT_NON_STR_KEYS))

    def _document(self, model: ScriptModel, version: str, base: str) -> dict[str, Any]:
        info = {
            "title": self._served.name,
            "description": f"API specification of the service {self._served.name}",
            "version": self._served.version,
        }
        schemas = {
            "ServiceInput": model.entry.input_schema(),
            "ServiceOutput": model.entry.output_schema(),
            "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}},
        }
        if version == "2.0":
            return self._swagger(info, schemas, base)
        said = "3.1.0" if version == "3.1" else "3.0.3"
        return self._openapi({"openapi": said, "info": info}, schemas, base)

    def _swagger(self, info: dict[str, str], schemas: dict[str, Any], base: str) -> dict[str, Any]:
        body = {"name": "serviceInputPayload", "in": "body", "required": True, "schema": _reference("2", "Input")}
        score = {
            "operationId": "RunMLService",
            "description": "Run the model and return its prediction",
            "parameters": [body],
            "responses": {
                "200": {"description": "The prediction", "schema": _reference("2", "Output")},
                "default": {"description": "What went wrong", "schema": {"$ref": "#/definitions/ErrorResponse"}},
            },
            **self._security(),
        }
        key = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "Bearer KEY"}
        return {
            "swagger": "2.0",
            "info": info,
            "consumes": [_JSON],
            "produces": [_JSON],
            **({"securityDefinitions": {"Bearer": key}} if self._secured else {}),
            "paths": {f"{base}/score": {"post": score}},
            "definitions": schemas,
        }

    def _openapi(self, head: dict[str, Any], schemas: dict[str, Any], base: str) -> dict[str, Any]:
        score = {
            "operationId": "RunMLService",
            "description": "Run the model and return its prediction",
            "requestBody": {"required": True, "content": {_JSON: {"schema": _reference("3", "Input")}}},
            "responses": {
                "200": {"description": "The prediction", "content": {_JSON: {"schema": _reference("3", "Output")}}},
                "default": {
                    "description": "What went wrong",
                    "content": {_JSON: {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}},
                },
            },
            **self._security(),
        }
        bearer = {"securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}}} if self._secured else {}
        return {**head, "paths": {f"{base}/score": {"post": score}}, "components": {"schemas": schemas, **bearer}}

    def _security(self) -> dict[str, Any]:
        return {"security": [{"Bearer": []}]} if self._secured else {}


def _reference(version: str, which: str) -> dict[str, str]:
    place = "definitions" if version == "2" else "components/schemas"
    return {"$ref": f"#/{place}/Service{which}"}
