"""Raw tensor contents past protobuf: taken out of a request, and put into an answer, without a copy.

protobuf copies every bytes field when it parses, again when Python asks for it, and the same on the way back. Tensors
are nearly all of a large message, so they are found in the encoded message itself
(https://protobuf.dev/programming-guides/encoding/): a message is a list of fields, and a field of bytes is a tag, its
length and itself.
"""

from __future__ import annotations

from collections.abc import Sequence

_LENGTH_DELIMITED = 2
# Numbers of fields that have "a length and so many bytes": the model's name, and the raw contents of both messages.
_NAME_TAG = 1 << 3 | _LENGTH_DELIMITED
_RAW_INPUT_TAG = 7 << 3 | _LENGTH_DELIMITED
_RAW_OUTPUT_TAG = bytes([6 << 3 | _LENGTH_DELIMITED])
_FIXED_BYTES = {1: 8, 5: 4}
# Below this protobuf is quicker, copies and all.
MIN_BYTES = 16 * 1024
# An honest request has few fields. One with more is left to protobuf, which is quick with them.
_MAX_FIELDS = 256


def without_raw_inputs(message: bytes) -> tuple[bytes, list[memoryview]]:
    """Split an encoded ModelInferRequest into one without raw_input_contents, and those as views of `message`.

    A message that is small, strange or damaged is returned whole: it is protobuf that says what is wrong with it.
    """
    if len(message) < MIN_BYTES:
        return message, []
    view = memoryview(message)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    position = 0
    try:
        for _ in range(_MAX_FIELDS):
            if position == len(message):
                return b"".join(rest), raw
            start = position
            tag, position = _varint(message, position)
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                length, position = _varint(message, position)
                content, position = position, position + length
            elif wire_type == 0:
                _, position = _varint(message, position)
            else:
                position += _FIXED_BYTES[wire_type]
            if position > len(message):
                break
            if tag == _RAW_INPUT_TAG:
                raw.append(view[content:position])
            else:
                rest.append(view[start:position])
    except (IndexError, KeyError):
        pass
    return message, []


def first_text(message: bytes) -> str:
    """Return field 1 of an encoded message, which is a text and comes first; empty where it does not."""
    try:
        tag, position = _varint(message, 0)
        length, position = _varint(message, position)
        if tag != _NAME_TAG or position + length > len(message):
            return ""
        return message[position : position + length].decode()
    except (IndexError, UnicodeDecodeError):
        return ""


def with_raw_outputs(message: bytes, raw: Sequence[bytes | memoryview]) -> bytes:
    """Return an encoded ModelInferResponse with `raw` as its raw_output_contents."""
    parts: list[bytes | memoryview] = [message]
    for content in raw:
        parts += (_RAW_OUTPUT_TAG, _encoded(len(content)), content)
    return b"".join(parts)


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Read a number at `position`; returns it and where it ends. Raises IndexError past the end of the message."""
    byte = message[position]
    position += 1
    if byte < 0x80:
        return byte, position
    number, shift = byte & 0x7F, 7
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise IndexError


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
