"""The messages of gRPC: their descriptors, and raw tensors that go past protobuf.

case                                         expected
messages.binpb                               is what protoc makes of the .proto files
names and numbers                            those of tritonclient, which is a client of the same protocol
splitting and joining                        the same as protobuf's own, for any message and for any bytes
"""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from scoring_runtime.rpc import messages, wire


def test_descriptors_are_those_of_the_proto_files(tmp_path: Path) -> None:
    """If this fails: run its command in runtime/scoring_runtime/rpc, with --descriptor_set_out=messages.binpb."""
    made = tmp_path / "messages.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={made}", *messages.SOURCES]
    subprocess.run(command, check=True, cwd=messages.DESCRIPTORS.parent)
    assert FileDescriptorSet.FromString(made.read_bytes()) == FileDescriptorSet.FromString(
        messages.DESCRIPTORS.read_bytes()
    )


def numbers(descriptor: object) -> dict:
    """Every field below a message: name → number, type, repeated, and the same of a message inside."""
    return {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            numbers(field.message_type) if field.message_type is not None else None,
        )
        for field in descriptor.fields  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("name", [name for name in vars(messages) if name.startswith(("Model", "Server"))])
def test_names_and_numbers_are_the_protocols(name: str) -> None:
    assert numbers(getattr(messages, name).DESCRIPTOR) == numbers(getattr(service_pb2, name).DESCRIPTOR)


def whole(rest: bytes, raw: list[memoryview]) -> object:
    request = messages.ModelInferRequest.FromString(rest)
    request.raw_input_contents.extend(map(bytes, raw))
    return request


@pytest.fixture(autouse=True)
def _no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MIN_BYTES", 0)


inputs = st.builds(
    lambda name, shape, number: messages.ModelInferRequest.InferInputTensor(
        name=name, shape=shape, contents={"int64_contents": [number]}
    ),
    st.text(max_size=3),
    st.lists(st.integers(-1, 1 << 40), max_size=3),
    st.integers(-5, 5),
)


@given(st.text(max_size=5), st.text(max_size=5), st.lists(inputs, max_size=3), st.lists(st.binary(max_size=300)))
def test_a_message_is_split_as_protobuf_reads_it(name: str, request_id: str, tensors: list, raw: list[bytes]) -> None:
    request = messages.ModelInferRequest(model_name=name, id=request_id, inputs=tensors, raw_input_contents=raw)
    request.parameters["x"].double_param = 0.5
    encoded = request.SerializeToString()
    rest, found = wire.without_raw_inputs(encoded)
    assert [bytes(view) for view in found] == raw
    assert whole(rest, found) == request


@given(st.binary(max_size=60) | st.lists(st.sampled_from([b":", b"\x00", b"\x80", b"\x0a", b"a"])).map(b"".join))
def test_any_bytes_are_read_as_protobuf_reads_them(message: bytes) -> None:
    """Damaged messages, fields in any order, unknown ones: where protobuf reads them, so does the split."""
    try:
        expected = messages.ModelInferRequest.FromString(message)
    except DecodeError:
        expected = None
    rest, raw = wire.without_raw_inputs(message)
    try:
        found = whole(rest, raw)
    except DecodeError:
        found = None
    if expected is None:
        assert found is None
    else:
        # Unknown fields may be in another order.
        assert found is not None
        assert list(found.raw_input_contents) == list(expected.raw_input_contents)  # type: ignore[attr-defined]
        assert found.model_name == expected.model_name  # type: ignore[attr-defined]


def test_many_fields_are_left_to_protobuf() -> None:
    message = messages.ModelInferRequest(raw_input_contents=[b""] * 1000).SerializeToString()
    assert wire.without_raw_inputs(message) == (message, [])


def test_what_is_split_is_not_copied() -> None:
    message = messages.ModelInferRequest(raw_input_contents=[b"x" * 100]).SerializeToString()
    (view,) = wire.without_raw_inputs(message)[1]
    assert view.obj is message


@given(st.lists(st.binary(max_size=300)), st.text(max_size=5))
def test_raw_outputs_are_joined_as_protobuf_writes_them(raw: list[bytes], name: str) -> None:
    message = messages.ModelInferResponse(model_name=name).SerializeToString()
    joined = wire.with_raw_outputs(message, [memoryview(content) for content in raw])
    assert joined == messages.ModelInferResponse(model_name=name, raw_output_contents=raw).SerializeToString()
