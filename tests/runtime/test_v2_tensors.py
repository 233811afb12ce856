"""V2's tensors: any values of any datatype and shape come through as they were, in JSON and in binary.

Inputs and outputs by name: which arrays become rows, columns or named tensors, and which methods are asked for.
"""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from scoring_runtime.errors import InputInvalid
from scoring_runtime.protocols.call import Request
from scoring_runtime.protocols.datatypes import DTYPES, datatype_of, from_raw, to_raw
from scoring_runtime.protocols.routes import ServedModel
from scoring_runtime.protocols.v2 import HEADER_LENGTH, InferRoutes
from scoring_runtime.protocols.v2tensors import call_of, merged, metadata_of, outputs_of
from scoring_runtime.tensors import Signature, Tensors, TensorSpec

INFER = InferRoutes(ServedModel("m", "1"))
SHAPES = arrays_of.array_shapes(min_dims=1, max_dims=4, max_side=4)
NUMBERS = st.sampled_from([name for name in DTYPES if name not in ("BYTES", "BF16")])


class Described:
    """A model as the protocols see it."""

    platform = "any"

    def __init__(self, *inputs: TensorSpec, outputs: tuple = (), methods: tuple = ("predict",)) -> None:
        self.signature = Signature(inputs, outputs)
        self.methods = methods


def request(body: bytes, length: int | None = None) -> Request:
    environ = {} if length is None else {"HTTP_" + HEADER_LENGTH.upper().replace("-", "_"): str(length)}
    return Request(body, "application/json", environ, Described())


def there_and_back(datatype: str, array: Any, binary_in: bool, binary_out: bool) -> Any:
    """Send an array as a client would, hand the decoded one back as the model's result, read the answer."""
    one: dict = {"name": "x", "shape": list(array.shape), "datatype": datatype}
    raw = bytes(to_raw(array)) if binary_in else b""
    one |= {"parameters": {"binary_data_size": len(raw)}} if binary_in else {"data": array.tolist()}
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": binary_out}}).encode()
    call = INFER.decode(request(head + raw, len(head) if binary_in else None))
    (received,) = call.inputs.arrays
    assert received.shape == array.shape
    reply = INFER.encode(call.inputs, call)
    headers = dict(reply.headers)
    length = int(headers.get(HEADER_LENGTH, len(reply.body)))
    (output,) = json.loads(reply.body[:length], parse_constant=pytest.fail)["outputs"]
    assert (output["datatype"], output["shape"]) == (datatype, list(array.shape))
    if binary_out:
        assert output["parameters"]["binary_data_size"] == len(reply.body) - length
        return from_raw("x", datatype, output["shape"], reply.body[length:])
    dtype = DTYPES[datatype]
    return np.array(output["data"], dtype).reshape(array.shape)


@settings(deadline=None)
@given(st.data(), NUMBERS, SHAPES, st.booleans(), st.booleans())
def test_any_numbers_come_through(
    data: st.DataObject, datatype: str, shape: tuple, binary_in: bool, binary_out: bool
) -> None:
    json_somewhere = not (binary_in and binary_out)
    floats = {"allow_nan": False, "allow_infinity": False} if json_somewhere else {}
    dtype = DTYPES[datatype]
    elements = arrays_of.from_dtype(dtype, **(floats if dtype.kind == "f" else {}))
    array = data.draw(arrays_of.arrays(dtype, shape, elements=elements))
    np.testing.assert_array_equal(there_and_back(datatype, array, binary_in, binary_out), array)


@settings(deadline=None)
@given(arrays_of.arrays(object, SHAPES, elements=st.text(max_size=8)), st.booleans(), st.booleans())
def test_any_text_comes_through(array: Any, binary_in: bool, binary_out: bool) -> None:
    assert there_and_back("BYTES", array, binary_in, binary_out).tolist() == array.tolist()


@given(st.lists(st.binary(max_size=9), min_size=1))
def test_any_bytes_come_through_in_binary(elements: list[bytes]) -> None:
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    array = from_raw("x", "BYTES", [len(elements)], raw)
    assert bytes(to_raw(array)) == raw
    assert len(set(map(type, array.tolist()))) == 1


def test_not_a_number_in_json() -> None:
    call = INFER.decode(
        request(b'{"inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "data": [null, 1e300, 1]}]}')
    )
    np.testing.assert_array_equal(call.inputs.arrays[0], np.array([np.nan, np.inf, 1], np.float32))
    assert json.loads(INFER.encode(call.inputs, call).body)["outputs"][0]["data"] == [None, None, 1.0]


def test_bf16_is_the_upper_half_of_fp32() -> None:
    exact = np.array([1.0, -2.5, 0.15625, np.inf], np.float32)
    raw = (exact.view("<u4") >> 16).astype("<u2").tobytes()
    array = from_raw("x", "BF16", [4], raw)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, exact)


def test_binary_is_not_copied_where_it_lies_well() -> None:
    body = memoryview(bytes(64))
    assert from_raw("x", "FP32", [2, 8], body).base is not None
    assert np.shares_memory(from_raw("x", "FP32", [2, 8], body), np.frombuffer(body, np.uint8))
    moved = from_raw("x", "FP64", [1], body[1:9])
    assert moved.flags.aligned
    result = np.arange(6.0)
    assert np.shares_memory(np.frombuffer(to_raw(result)), result)


@pytest.mark.parametrize(
    ("array", "datatype", "raw"),
    [
        (np.array([True, False]), "BOOL", b"\1\0"),
        (np.array([258], ">i2"), "INT16", b"\2\1"),
        (np.array(["a", "Ö"]), "BYTES", b"\1\0\0\0a\2\0\0\0\xc3\x96"),
        (np.array(["a", None, 1.5, b"\xff"], object), "BYTES", b"\1\0\0\0a\4\0\0\0None\3\0\0\x001.5\1\0\0\0\xff"),
        (np.array(["2026-01-02"], "datetime64[D]"), "BYTES", b"\x0a\0\0\x002026-01-02"),
        (np.arange(4, dtype=np.int8).reshape(2, 2).T, "INT8", b"\0\2\1\3"),
    ],
)
def test_results_of_any_kind_have_a_datatype(array: Any, datatype: str, raw: bytes) -> None:
    assert datatype_of(array.dtype) == datatype
    assert bytes(to_raw(array)) == raw
    reply = INFER.encode(Tensors((array,)), INFER.decode(request(_any())))
    assert json.loads(reply.body)["outputs"][0]["datatype"] == datatype


def _any() -> bytes:
    return b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}]}'


ONES, PAIRS, TEXT = np.ones(2), np.ones((2, 1)), np.array([["a"], ["b"]], object)
MATRIX = TensorSpec("input", "float64", (-1, 3))
COLUMNS = (TensorSpec("a", "float64", (-1,)), TensorSpec("b", "float32", (-1, 1)))


@pytest.mark.parametrize(
    ("model", "inputs", "names", "shapes"),
    [
        (Described(), [("x", ONES)], None, [(2,)]),
        (Described(MATRIX), [("anything", np.ones((2, 3)))], None, [(2, 3)]),
        (Described(TensorSpec("text", "object", (-1,))), [("x", TEXT)], None, [(2,)]),
        (Described(TensorSpec("x", "float32", (-1, 1))), [("x", ONES)], None, [(2, 1)]),
        (Described(), [("a", ONES), ("b", PAIRS)], ("a", "b"), [(2,), (2, 1)]),
        (Described(*COLUMNS), [("b", ONES), ("a", PAIRS)], ("b", "a"), [(2, 1), (2,)]),
        (Described(*COLUMNS), [("a", ONES)], ("a",), [(2,)]),
        (Described(*COLUMNS), [("both", np.ones((2, 2)))], None, [(2, 2)]),
    ],
)
def test_inputs_by_name(model: Described, inputs: list, names: tuple | None, shapes: list) -> None:
    call = call_of(inputs, model)
    assert call.inputs.names == names
    assert [array.shape for array in call.inputs.arrays] == shapes


TWO = ("predict", "predict_proba", "decision_function")


@pytest.mark.parametrize(
    ("method", "requested", "expected"),
    [
        ("", [], ("", ())),
        ("predict_proba", [], ("predict_proba", ())),
        ("", ["predict_proba"], ("predict_proba", ())),
        ("", ["predict_proba", "predict"], ("predict_proba", ("predict",))),
        ("predict", ["predict_proba"], ("predict", ("predict_proba",))),
        ("predict", ["predict"], ("predict", ())),
        ("", ["label"], ("", ())),
        ("", ["label", "predict_proba"], ("predict", ("predict_proba",))),
    ],
)
def test_methods(method: str, requested: list[str], expected: tuple) -> None:
    call = call_of([("x", ONES)], Described(methods=TWO), method, requested)
    assert (call.method, call.also) == expected


def test_names_of_outputs() -> None:
    one, several = Tensors((ONES,)), Tensors((ONES, PAIRS))
    sklearn, network = Described(methods=TWO), Described(outputs=(TensorSpec("y"), TensorSpec("z")))
    assert [name for name, _ in outputs_of(one, sklearn)] == ["predict"]
    assert [name for name, _ in outputs_of(several, sklearn, "predict_proba")] == ["predict_proba_0", "predict_proba_1"]
    assert [name for name, _ in outputs_of(several, network)] == ["y", "z"]
    assert [name for name, _ in outputs_of(several, network, "", ["z"])] == ["z"]
    assert [name for name, _ in outputs_of(Tensors((ONES,), ("own",)), network, "", ["predict"])] == ["predict"]
    with pytest.raises(InputInvalid, match="no output w; it has y, z"):
        outputs_of(several, network, "", ["w"])
    both = merged(("predict", "predict_proba"), [one, several])
    assert both.names == ("predict", "predict_proba_0", "predict_proba_1")


def test_metadata() -> None:
    inputs, outputs = metadata_of(Described(*COLUMNS, outputs=(TensorSpec("y", "object", (-1,)),)))
    assert inputs == [
        {"name": "a", "datatype": "FP64", "shape": [-1]},
        {"name": "b", "datatype": "FP32", "shape": [-1, 1]},
    ]
    assert outputs == [{"name": "y", "datatype": "BYTES", "shape": [-1]}]
