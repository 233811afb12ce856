"""The Open Inference Protocol's datatypes and their raw form, shared by V2 over HTTP (JSON and binary) and over gRPC.

Raw (the protocol's "binary tensor data" extension and gRPC's raw contents): elements in row-major order, little-endian,
without padding; BOOL is one byte; an element of BYTES is its length in four bytes, then itself. BF16 is the upper half
of an FP32. What comes in is not copied: an array is a read-only view of the body, but for BF16, which NumPy does not
have and which becomes float32, for BYTES, and for what does not lie at an address that its dtype may have.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from math import prod
from types import MappingProxyType

import numpy as np

from scoring_runtime.errors import InputInvalid
from scoring_runtime.tensors import Array

DTYPES = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype("u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
        # What NumPy lacks, and what takes its place.
        "BF16": np.dtype("<f4"),
        "BYTES": np.dtype(object),
    }
)
"""The protocol's name of each datatype, and the dtype of its arrays here."""

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}
_BF16 = np.dtype("<u2")
# The most axes that NumPy can have, less some that a model may add.
MAX_AXES = 32
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: np.dtype[np.generic] | str) -> str:
    """Return the protocol's name for a dtype; text, dates and all that it has no name for are BYTES.

    Also takes NumPy's name of a dtype; an empty one (unknown) gives an empty name.
    """
    if dtype == "":
        return ""
    return _NAMES.get(np.dtype(dtype).newbyteorder("<"), "BYTES")


def check_shape(name: str, datatype: str, shape: Sequence[int]) -> int:
    """Return how many elements an input has. Raises InputInvalid for a datatype or shape that cannot be."""
    if datatype not in DTYPES:
        raise InputInvalid(f"input {name} has the unknown datatype {datatype!r}; known are {', '.join(DTYPES)}")
    if not 1 <= len(shape) <= MAX_AXES:
        raise InputInvalid(f"the shape of input {name} has {len(shape)} axes; it must have 1 to {MAX_AXES}")
    if min(shape) < 1:
        raise InputInvalid(f"the shape of input {name} is {list(shape)}; each axis must be at least 1")
    return prod(shape)


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Array:
    """Return the array that `raw` holds. Raises InputInvalid when it does not fit the datatype and shape."""
    count = check_shape(name, datatype, shape)
    if datatype == "BYTES":
        return objects(_elements(name, count, raw), shape)
    dtype = _BF16 if datatype == "BF16" else DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise InputInvalid(
            f"input {name} has {len(raw)} bytes; {datatype} of shape {list(shape)} has {count * dtype.itemsize}"
        )
    if datatype == "BOOL":
        # Any byte but 0 is true; a bool that is neither 0 nor 1 would be neither to NumPy.
        truths: Array = np.frombuffer(raw, np.uint8) != 0
        return truths.reshape(shape)
    array: Array = np.frombuffer(raw, dtype)
    if datatype == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    elif not array.flags.aligned:
        # The text before it may have any length. Compiled code that takes arrays may not read at odd addresses.
        array = array.copy()
    return array.reshape(shape)


def to_raw(array: Array) -> bytes | memoryview:
    """Return an array's raw form, for a contiguous one without copying; its datatype is `datatype_of(array.dtype)`.

    Text is written as UTF-8.
    """
    dtype = DTYPES[datatype_of(array.dtype)]
    if dtype.kind == "O":
        return b"".join(_prefixed(array.ravel().tolist()))
    return np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data


def objects(elements: Sequence[object], shape: Sequence[int]) -> Array:
    """Return elements of BYTES as an array: text if all of them are text in UTF-8, otherwise bytes (images)."""
    array = np.empty(len(elements), object)
    array[:] = text_or_bytes(elements)
    return array.reshape(shape)


def text_or_bytes(elements: Sequence[object]) -> list[object]:
    """Decode bytes as UTF-8 if that is possible for all; text stays as it is."""
    try:
        return [str(element, "utf-8") if isinstance(element, bytes) else element for element in elements]
    except UnicodeDecodeError:
        return [element.encode() if isinstance(element, str) else element for element in elements]


def _elements(name: str, count: int, raw: bytes | memoryview) -> list[object]:
    # Each element has four bytes at least: a shape cannot make this reserve more than what was sent.
    found: list[object] = []
    position, size = 0, len(raw)
    while position + _LENGTH.size <= size:
        (length,) = _LENGTH.unpack_from(raw, position)
        position += _LENGTH.size
        if position + length > size:
            break
        found.append(bytes(raw[position : position + length]))
        position += length
    else:
        if position == size and len(found) == count:
            return found
    raise InputInvalid(
        f"input {name} is not {count} elements of BYTES: each is its length as four bytes, little-endian, then itself"
    )


def _prefixed(elements: Iterable[object]) -> Iterable[bytes]:
    for element in elements:
        content = element if isinstance(element, bytes) else str(element).encode()
        yield _LENGTH.pack(len(content))
        yield content
