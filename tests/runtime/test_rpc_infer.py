"""ModelInfer with real clients against a real gRPC server in this process.

case                                         expected
every datatype, typed and raw                comes back as it was sent
BF16, FP16                                   raw only; BF16 is computed as FP32
small and large messages                     the same answer
requested outputs, methods, id               as over HTTP
what cannot be scored                        INVALID_ARGUMENT or NOT_FOUND with a sentence, and the server goes on
"""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from scoring_runtime.frameworks import Model
from scoring_runtime.rpc import messages
from scoring_runtime.tensors import Tensors
from tests.runtime.rpc_server import Identity, Rpc
from tests.waiting import PATIENCE

FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])


@pytest.fixture(scope="module")
def echo() -> Iterator[Rpc]:
    rpc = Rpc(Identity(), max_body_bytes=1_000_000)
    yield rpc
    rpc.close()


@pytest.fixture(scope="module")
def iris(iris_model: Model) -> Iterator[Rpc]:
    rpc = Rpc(iris_model, model_version="3")
    yield rpc
    rpc.close()


ARRAYS = {
    "BOOL": np.array([[True, False], [False, False]]),
    **{f"INT{bits}": np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1], f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.array([0, 2**bits - 1], f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    "FP32": np.array([[[1.5], [-np.inf]], [[np.nan], [3e38]]], "f4"),
    "FP64": np.array([1e-300, -0.0]),
    "BYTES": np.array(["ä", "", "two words"], object),
}


@pytest.mark.parametrize("datatype", [*ARRAYS, "FP16"])
def test_every_datatype_raw(echo: Rpc, datatype: str) -> None:
    array = ARRAYS.get(datatype, np.array([0.5, 65504.0], np.float16))
    tensor = triton.InferInput("x", array.shape, datatype)
    tensor.set_data_from_numpy(array)
    answer = echo.triton.infer("m", [tensor])
    found = answer.as_numpy("only")
    assert answer.get_response().outputs[0].datatype == datatype
    if datatype == "BYTES":
        found = np.array([element.decode() for element in found], object)
    np.testing.assert_array_equal(found, array)


FIELDS = {"BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}


@pytest.mark.parametrize("datatype", ARRAYS)
def test_every_datatype_typed(echo: Rpc, datatype: str) -> None:
    array = ARRAYS[datatype]
    field = FIELDS.get(datatype, "uint" if datatype.startswith("U") else "int") + "_contents"
    values = [element.encode() for element in array] if datatype == "BYTES" else array.ravel().tolist()
    answer = echo.infer(typed(datatype, list(array.shape), **{field: values}))
    assert len(answer.raw_output_contents) == 0
    (output,) = answer.outputs
    assert (output.datatype, tuple(output.shape)) == (datatype, array.shape)
    np.testing.assert_array_equal(list(getattr(output.contents, field)), values)


def typed(datatype: str, shape: list[int], **contents: Any) -> Any:
    request = messages.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=datatype, shape=shape, contents=contents)
    return request


def raw(datatype: str, shape: list[int], content: bytes) -> Any:
    request = messages.ModelInferRequest(model_name="m", raw_input_contents=[content])
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


def test_bf16_is_the_upper_half_of_fp32(echo: Rpc) -> None:
    halves = np.array([1.5, -2.0, np.inf], "f4").view("<u4") >> 16
    answer = echo.infer(raw("BF16", [3], halves.astype("<u2").tobytes()))
    assert answer.outputs[0].datatype == "FP32"
    assert np.frombuffer(answer.raw_output_contents[0], "f4").tolist() == [1.5, -2.0, np.inf]


def test_bytes_that_are_no_text_stay_bytes(echo: Rpc) -> None:
    picture = b"\xff\xd8\x00\xff"
    assert echo.infer(typed("BYTES", [1], bytes_contents=[picture])).outputs[0].contents.bytes_contents == [picture]


@pytest.mark.parametrize("rows", [1, 100, 5000])
def test_large_messages_past_protobuf(echo: Rpc, rows: int) -> None:
    array = np.random.default_rng(rows).random((rows, 20))
    answer = echo.infer(raw("FP64", list(array.shape), array.tobytes()))
    assert answer.raw_output_contents == [array.tobytes()]
    small = raw("FP64", [1, 20], array[:1].tobytes())
    assert echo.infer(small).raw_output_contents == [array[:1].tobytes()]


def test_several_inputs_by_name(echo: Rpc) -> None:
    request = raw("FP64", [2], np.array([1.0, 2.0]).tobytes())
    request.inputs.add(name="b", datatype="BOOL", shape=[2])
    request.raw_input_contents.append(b"\x00\x02")
    answer = echo.infer(request)
    assert [output.name for output in answer.outputs] == ["x", "b"]
    assert answer.raw_output_contents[1] == b"\x00\x01"


def test_the_answer_carries_names_and_id(iris: Rpc) -> None:
    tensor = triton.InferInput("x", FLOWERS.shape, "FP64")
    tensor.set_data_from_numpy(FLOWERS)
    answer = iris.triton.infer("m", [tensor], model_version="3", request_id="the id")
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "the id")
    assert answer.as_numpy("predict").tolist() == [0, 2]


def test_methods_and_requested_outputs(iris: Rpc, iris_model: Model) -> None:
    expected = iris_model.predict(Tensors((FLOWERS,)), "predict_proba").arrays[0]
    request = raw("FP64", [2, 4], FLOWERS.tobytes())
    request.parameters["method"].string_param = "predict_proba"
    (probabilities,) = iris.infer(request).raw_output_contents
    np.testing.assert_array_equal(np.frombuffer(probabilities).reshape(2, 3), expected)
    request = raw("FP64", [2, 4], FLOWERS.tobytes())
    for name in ("predict_proba", "predict"):
        request.outputs.add(name=name)
    answer = iris.infer(request)
    assert [output.name for output in answer.outputs] == ["predict_proba", "predict"]
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0]).reshape(2, 3), expected)


def test_metadata(iris: Rpc) -> None:
    about = iris.triton.get_model_metadata("m", "3")
    assert (about.name, list(about.versions), about.platform) == ("m", ["3"], "sklearn")
    assert [(one.datatype, list(one.shape)) for one in about.inputs] == [("FP64", [-1, 4])]
    assert iris.triton.get_server_metadata().name == "scoring-runtime"
    assert iris.triton.is_model_ready("m")
    with pytest.raises(triton.InferenceServerException, match="has no version '4'"):
        iris.triton.get_model_metadata("m", "4")


def changed(**changes: Any) -> Any:
    request = raw("FP64", [2, 4], FLOWERS.tobytes())
    for name, value in changes.items():
        if name in ("datatype", "shape"):
            request.inputs[0].ClearField(name)
            request.inputs[0].MergeFrom(messages.ModelInferRequest.InferInputTensor(**{name: value}))
        else:
            request.ClearField(name)
            request.MergeFrom(messages.ModelInferRequest(**{name: value}))
    return request


BAD = grpc.StatusCode.INVALID_ARGUMENT
GONE = grpc.StatusCode.NOT_FOUND
REFUSED = [
    ("another model", changed(model_name="other"), GONE, "no model 'other'"),
    ("another version", changed(model_version="4"), GONE, "no version '4'"),
    ("no inputs", messages.ModelInferRequest(model_name="m"), BAD, 'no "inputs"'),
    ("too few bytes", changed(raw_input_contents=[b"1234567"]), BAD, "has 7 bytes; FP64 of shape [2, 4] has 64"),
    ("too many contents", changed(raw_input_contents=[b"", b""]), BAD, "1 inputs and 2 raw_input_contents"),
    ("unknown datatype", changed(datatype="FP8"), BAD, "unknown datatype 'FP8'"),
    ("no shape", changed(shape=[]), BAD, "has 0 axes"),
    ("negative axis", changed(shape=[-1, 4]), BAD, "each axis must be at least 1"),
    ("an axis of nothing", changed(shape=[2, 0]), BAD, "each axis must be at least 1"),
    ("more elements than there are numbers", changed(shape=[2**62, 2**62]), BAD, "has 64 bytes"),
    ("too many axes", changed(shape=[1] * 70), BAD, "has 70 axes"),
    ("typed FP16", typed("FP16", [1]), BAD, "must be sent as raw_input_contents"),
    ("the wrong contents", typed("FP64", [1], fp32_contents=[1.0]), BAD, "has 0 fp64_contents"),
    ("too large for INT8", typed("INT8", [1], int_contents=[300]), BAD, "too large or too small for INT8"),
    ("cut off BYTES", raw("BYTES", [1], b"\x05\0\0\0abc"), BAD, "is not 1 elements of BYTES"),
    ("something behind BYTES", raw("BYTES", [1], b"\x01\0\0\0abc"), BAD, "is not 1 elements of BYTES"),
    ("an unknown output", changed(outputs=[{"name": "nope"}]), BAD, "no output nope"),
    ("an output twice", changed(outputs=[{"name": "predict"}] * 2), BAD, "requested twice"),
    ("an unknown method", changed(parameters={"method": {"string_param": "fly"}}), BAD, "no method 'fly'"),
    ("a method that is a number", changed(parameters={"method": {"int64_param": 1}}), BAD, "must be a string_param"),
    ("columns that are too few", raw("FP64", [2, 3], bytes(48)), BAD, "4"),
    ("text for numbers", raw("BYTES", [1, 4], b"\x01\0\0\0a" * 4), BAD, ""),
]


@pytest.mark.parametrize(("case", "request_", "code", "said"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_scored(iris: Rpc, case: str, request_: Any, code: grpc.StatusCode, said: str) -> None:
    found, details = iris.refusal(request_)
    assert (found, said in details) == (code, True), details


def test_what_is_no_message(iris: Rpc) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        iris.call(b"\xff\xff", timeout=PATIENCE)
    assert (raised.value.code(), raised.value.details()) == (
        BAD,
        "the message is no ModelInferRequest, or it is damaged",
    )


def test_contents_beside_raw_contents(iris: Rpc) -> None:
    request = typed("FP64", [1, 4], fp64_contents=[1, 2, 3, 4])
    request.raw_input_contents.append(FLOWERS[:1].tobytes())
    assert iris.refusal(request) == (BAD, "input x has contents beside raw_input_contents; send one of them")


def test_a_message_that_is_too_large(echo: Rpc) -> None:
    """Also one that is small until it is decompressed."""
    huge = raw("UINT8", [1, 1_000_000], bytes(1_000_000))
    code, details = echo.refusal(huge)
    assert (code, "larger than max" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    with pytest.raises(grpc.RpcError) as raised:
        echo.infer(huge, compression=grpc.Compression.Gzip)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    small = raw("UINT8", [1, 1000], bytes(1000))
    assert echo.infer(small, compression=grpc.Compression.Gzip).raw_output_contents == [bytes(1000)]


def test_unknown_methods(iris: Rpc) -> None:
    unknown: Callable[..., Any] = iris.channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")
    with pytest.raises(grpc.RpcError) as raised:
        unknown(b"", timeout=PATIENCE)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
