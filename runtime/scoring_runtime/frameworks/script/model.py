"""An entry script as a model: requests in, whatever `run` returns out.

What goes through the queue is one row that holds a Python object: the request, then the arguments, then the value. So
scripts have the queue's slots, time limits and metrics, and all their code runs on the model's thread.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import orjson

from scoring_runtime.azureml_shims.parameters import SchemaMismatch
from scoring_runtime.errors import InputInvalid, MethodNotAllowed, ModelFailed, UnsupportedMediaType
from scoring_runtime.frameworks.script.entry import HEADERS, Entry, Style
from scoring_runtime.messages import HttpRequest, OpenRequest
from scoring_runtime.tensors import Signature, Tensors, object_array

_METHODS = ("GET", "POST")
_PATH = "/score"
_logger = logging.getLogger(__name__)


Stream = Iterator[Any] | AsyncIterator[Any]


class Step:
    """The next piece of a stream that `run` returned: a row like any other, so that streams take turns with calls.

    One that is `closing` ends the stream before its time, which lets a generator run its `finally`.
    """

    __slots__ = ("_closing", "_iterator")

    def __init__(self, iterator: Stream, closing: bool = False) -> None:
        self._iterator = iterator
        self._closing = closing

    def taken(self, finished: Callable[[Any], Any]) -> Piece:
        """Run the script up to its next piece; `finished` gives what a coroutine gives in the end."""
        try:
            if self._closing:
                close = getattr(self._iterator, "aclose", None) or getattr(self._iterator, "close", None)
                finished(close() if close is not None else None)
                return Piece(None, over=True)
            if isinstance(self._iterator, AsyncIterator):
                return Piece(finished(self._iterator.__anext__()))
            return Piece(next(self._iterator))
        except (StopIteration, StopAsyncIteration):
            return Piece(None, over=True)
        except BaseException as error:
            # Not raised: the queue would run the other steps of the batch again, and they would skip a piece.
            return Piece(None, error=error)


class Piece:
    """What one step gave."""

    __slots__ = ("error", "over", "value")

    def __init__(self, value: Any, over: bool = False, error: BaseException | None = None) -> None:
        self.value = value
        self.over = over
        self.error = error


class _Arguments:
    """One call of `run`, ready to be made."""

    __slots__ = ("as_tensors", "request", "values")

    def __init__(self, values: dict[str, Any], request: HttpRequest | None = None, as_tensors: bool = False) -> None:
        self.values = values
        self.request = request
        self.as_tensors = as_tensors


class ScriptModel:
    """An imported script after its `init`. See `frameworks.Model`."""

    methods = ("run",)
    warnings: tuple[str, ...] = ()
    platform = "python_script"

    def __init__(self, entry: Entry, folder: Path, open_request: OpenRequest | None = None) -> None:
        self.entry = entry
        self.folder = folder
        self.batches = entry.run_batch is not None
        self.signature: Signature = entry.signature()
        self._open_request = open_request
        # Makes its loop when the first coroutine comes.
        self._runner = asyncio.Runner()

    def sample(self, file_content: bytes | None) -> Tensors | None:
        """Return the call that shows that the script works: the sample file, else the schema's own samples, if any."""
        body = self.sample_body() if file_content is None else file_content
        if body is None:
            return None
        return boxed(HttpRequest("POST", _PATH, headers=(("Content-Type", "application/json"),), body=body))

    def sample_body(self) -> bytes | None:
        """See `ScriptedModel.sample_body`."""
        return self.entry.sample()

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """Turn a request into the arguments of `run`. Raises InputInvalid, UnsupportedMediaType, MethodNotAllowed."""
        first = inputs.arrays[0].flat[0] if inputs.arrays[0].dtype == object and inputs.arrays[0].size else None
        if isinstance(first, Step):
            return inputs
        if isinstance(first, HttpRequest):
            return boxed(self._arguments(first))
        return boxed(_Arguments(self._from_tensors(inputs), as_tensors=True))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """Call the script. Raises what it raises."""
        rows = list(inputs.arrays[0])
        try:
            if isinstance(rows[0], Step):
                return boxed(*(step.taken(self.finished) for step in rows))
            if self.entry.run_batch is not None:
                return self._called_together(rows)
            return self._called(rows[0])
        except BaseException:
            # With its message, which may quote the input; so only for those who ask.
            _logger.debug("the entry script raised\n%s", traceback.format_exc())
            raise

    def finished(self, value: Any) -> Any:
        """Return the value itself, or what an async function gives in the end."""
        return self._runner.run(_awaited(value)) if inspect.isawaitable(value) else value

    def close(self) -> None:
        """End what async functions left running. Call it when no request comes any more."""
        self._runner.close()

    def _called(self, call: _Arguments) -> Tensors:
        if call.request is None:
            value = self.finished(self.entry.run(**call.values))
            return _as_tensors(value) if call.as_tensors else boxed(value)
        assert self._open_request is not None
        with self._open_request(call.request) as request:
            return boxed(self.finished(self.entry.run(**{self.entry.first: request}, **call.values)))

    def _called_together(self, rows: list[_Arguments]) -> Tensors:
        assert self.entry.run_batch is not None
        items = [call.values[self.entry.first] for call in rows]
        results = self.finished(self.entry.run_batch(items))
        if not isinstance(results, list | tuple) or len(results) != len(items):
            got = f"{len(results)} results" if isinstance(results, list | tuple) else f"a {type(results).__name__}"
            said = f"run_batch returned {got} for {len(items)} items; it must return a list as long"
            _logger.error(said)
            raise ModelFailed(said)
        return boxed(*results)

    def _arguments(self, request: HttpRequest) -> _Arguments:
        entry = self.entry
        headers = {HEADERS: dict(request.headers)} if entry.wants_headers else {}
        if entry.style is Style.RAW:
            return _Arguments(headers, request)
        if request.method not in _METHODS:
            raise MethodNotAllowed(f"{request.method} is not possible here; use GET or POST", [("Allow", "GET, POST")])
        if entry.style is Style.TEXT:
            return _Arguments({entry.first: _text(request)} | headers)
        values = _query(request) if request.method == "GET" else _json_object(request)
        return _Arguments(self._typed(values) | headers)

    def _typed(self, values: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.entry.arguments(values)
        except KeyError as missing:
            names = ", ".join(self.entry.parameters)
            raise InputInvalid(f"a value is missing for {missing}; send a JSON object with {names}") from None
        except SchemaMismatch as error:
            raise InputInvalid(f"the body is not what the script's schema says: {error}") from None

    def _from_tensors(self, inputs: Tensors) -> dict[str, Any]:
        """Return arguments out of the tensors of another protocol, by their names; one argument needs no name."""
        entry = self.entry
        if entry.style is not Style.SCHEMA or entry.wants_headers or self.batches:
            raise InputInvalid("this model is an entry script that takes plain requests; send them to /score")
        arrays = inputs.arrays
        if inputs.names is None or (len(arrays) == len(entry.parameters) == 1):
            named = dict(zip(entry.parameters, arrays, strict=False))
        else:
            named = dict(zip(inputs.names, arrays, strict=True))
        unknown = ", ".join(sorted(named.keys() - entry.parameters.keys()))
        if unknown or len(named) != len(arrays):
            raise InputInvalid(f"the script takes the inputs {', '.join(entry.parameters)}; it does not know {unknown}")
        return self._typed({name: self._as_json(name, array) for name, array in named.items()})

    def _as_json(self, name: str, array: Any) -> Any:
        """Return an array as what JSON would have brought: a list, or its only value where the schema has no list."""
        described = self.entry.input_schema().get("properties", {}).get(name, {})
        is_single = array.size == 1 and described.get("type") not in ("array", None)
        return array.item() if is_single else array.tolist()


def boxed(*rows: Any) -> Tensors:
    """Return rows that each hold one Python object."""
    return Tensors((object_array(rows),))


def unboxed(result: Tensors) -> Any:
    """Return the object in a result of one row."""
    return result.arrays[0][0]


async def _awaited(value: Any) -> Any:
    return await value


def _as_tensors(value: Any) -> Tensors:
    """Return what `run` returned as arrays, an object's fields by their names."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict(orient="list")
    try:
        if isinstance(value, dict):
            arrays = tuple(np.atleast_1d(np.asarray(part)) for part in value.values())
            return Tensors(tuple(map(_texts_as_objects, arrays)), tuple(map(str, value)))
        return Tensors((_texts_as_objects(np.atleast_1d(np.asarray(value))),))
    except ValueError:
        raise ModelFailed(
            "run returned lists of different lengths, which are no tensor; send requests to /score"
        ) from None


def _texts_as_objects(array: Any) -> Any:
    return array.astype(object) if array.dtype.kind == "U" else array


def _text(request: HttpRequest) -> str:
    if request.method == "GET":
        return json.dumps(_query(request))
    try:
        return request.body.decode()
    except UnicodeDecodeError as error:
        raise InputInvalid(f"the body is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _query(request: HttpRequest) -> dict[str, Any]:
    """Return the fields of the query: each as the JSON that it is, else as text; several of one name as a list."""
    fields = parse_qs(request.query, keep_blank_values=True)
    return {
        name: _json_or_text(values[0]) if len(values) == 1 else list(map(_json_or_text, values))
        for name, values in fields.items()
    }


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json_object(request: HttpRequest) -> dict[str, Any]:
    kind = request.header("Content-Type").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType("send `Content-Type: application/json`")
    try:
        value = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        value = _loosely(request.body, error)
    if not isinstance(value, dict):
        raise InputInvalid("the body must be a JSON object with the script's parameters as its fields")
    return value


def _loosely(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Read what Python's own writer makes of NaN and infinity, which is not JSON and which clients of Azure send."""
    if b"NaN" in body or b"Infinity" in body:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
    raise InputInvalid(f"the body is {f'not JSON: {error}' if body else 'empty'}; send a JSON object") from None
