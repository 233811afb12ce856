"""The messages of inference.proto and health.proto.

They live in a descriptor pool of their own: an entry script, or a test, may import a client of the same protocol, and
protobuf's common pool refuses two files that define one name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from scoring_runtime.errors import RequestInvalid

DESCRIPTORS = Path(__file__).with_name("messages.binpb")
SOURCES = ("inference.proto", "health.proto")


def _pool() -> Any:
    pool: Any = DescriptorPool()
    for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return pool


_messages = _pool()


def _message(name: str) -> Any:
    return GetMessageClass(_messages.FindMessageTypeByName(name))


def parsed(kind: Any, message: bytes) -> Any:
    """Return an encoded message as one of a kind. Raises RequestInvalid for what is none."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise RequestInvalid(f"the message is no {kind.DESCRIPTOR.name}, or it is damaged") from None


def encoded(message: Any) -> bytes:
    """Return a message as it is sent."""
    as_bytes: bytes = message.SerializeToString()
    return as_bytes


ServerLiveRequest = _message("inference.ServerLiveRequest")
ServerLiveResponse = _message("inference.ServerLiveResponse")
ServerReadyRequest = _message("inference.ServerReadyRequest")
ServerReadyResponse = _message("inference.ServerReadyResponse")
ModelReadyRequest = _message("inference.ModelReadyRequest")
ModelReadyResponse = _message("inference.ModelReadyResponse")
ServerMetadataRequest = _message("inference.ServerMetadataRequest")
ServerMetadataResponse = _message("inference.ServerMetadataResponse")
ModelMetadataRequest = _message("inference.ModelMetadataRequest")
ModelMetadataResponse = _message("inference.ModelMetadataResponse")
ModelInferRequest = _message("inference.ModelInferRequest")
ModelInferResponse = _message("inference.ModelInferResponse")
HealthCheckRequest = _message("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = _message("grpc.health.v1.HealthCheckResponse")
