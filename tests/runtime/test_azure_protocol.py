"""Bytes ↔ arrays in Azure's form.

Any bytes either decode or are refused as the client's fault; what decodes has the values that were written.
"""

import json
import math
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_runtime.errors import InputInvalid, UnsupportedMediaType
from scoring_runtime.protocols.azure import decode, encode
from scoring_runtime.protocols.call import Call
from scoring_runtime.tensors import Tensors

JSON = "application/json"

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def decoded(body: Any, content_type: str = JSON) -> Call:
    return decode(body if isinstance(body, bytes) else json.dumps(body).encode(), content_type)


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        ([[1.5, 2]], np.float64, (1, 2)),
        ([[1, 2], [3, 4]], np.int64, (2, 2)),
        ([[True], [False]], np.bool_, (2, 1)),
        ([[1, None]], np.float64, (1, 2)),
        ([[True, 2]], np.float64, (1, 2)),
        ([[2**63, 1]], np.float64, (1, 2)),
        (["a text", "another"], object, (2,)),
        ([["a", 1, None]], object, (1, 3)),
        ([[[[0.0]] * 3]], np.float64, (1, 1, 3, 1)),
        ([1, 2, 3], np.int64, (3,)),
    ],
)
def test_rows(data: list, dtype: type, shape: tuple) -> None:
    call = decoded({"data": data})
    (array,) = call.inputs.arrays
    assert (array.dtype, array.shape, call.inputs.names, call.method) == (np.dtype(dtype), shape, None, "")


def test_null_is_nan_among_numbers_and_none_among_text() -> None:
    assert math.isnan(decoded({"data": [[1, None]]}).inputs.arrays[0][0, 1])
    assert decoded({"data": [["a", None]]}).inputs.arrays[0][0, 1] is None


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"age": 40, "city": "Bonn"}, {"city": "Ulm", "age": 41}]},
        {"columns": ["age", "city"], "data": [[40, "Bonn"], [41, "Ulm"]]},
        {"columns": ["age", "city"], "index": [7, 8], "data": [[40, "Bonn"], [41, "Ulm"]]},
    ],
)
def test_tables(body: dict) -> None:
    inputs = decoded(body).inputs
    assert inputs.names == ("age", "city")
    assert [array.tolist() for array in inputs.arrays] == [[40, 41], ["Bonn", "Ulm"]]
    assert [array.dtype for array in inputs.arrays] == [np.dtype(np.int64), np.dtype(object)]


def test_records_of_lists_are_inputs_with_more_axes() -> None:
    inputs = decoded({"data": [{"left": [1, 2], "right": [[0.5]]}, {"left": [3, 4], "right": [[1.5]]}]}).inputs
    assert inputs.names == ("left", "right")
    assert [array.shape for array in inputs.arrays] == [(2, 2), (2, 1, 1)]


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg; q=1", "IMAGE/WEBP"])
def test_an_image_is_one_row_of_bytes(kind: str) -> None:
    call = decoded(b"\x89PNG\r\n", kind)
    (array,) = call.inputs.arrays
    assert (array.dtype, array.shape, array[0], call.inputs.names) == (np.dtype(object), (1,), b"\x89PNG\r\n", None)
    with pytest.raises(InputInvalid, match="empty"):
        decoded(b"", kind)


def test_base64_text_stays_text_and_b64_objects_are_bytes() -> None:
    assert decoded({"data": ["AAE="]}).inputs.arrays[0].tolist() == ["AAE="]
    assert decoded({"data": [{"b64": "AAE="}, {"b64": ""}]}).inputs.arrays[0].tolist() == [b"\x00\x01", b""]


def test_method() -> None:
    assert decoded({"data": [[1]], "method": "predict_proba"}).method == "predict_proba"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 2000, "the body is not JSON"),
        ([1], "must be a JSON object"),
        ("text", "must be a JSON object"),
        ({}, 'the body has no "data"'),
        ({"rows": [[1]]}, "unknown field rows; known are data"),
        ({"data": [[1]], "method": 3}, '"method" must be a string'),
        ({"data": None}, '"data" must be a list of rows'),
        ({"data": {"a": 1}}, '"data" must be a list of rows'),
        ({"data": []}, '"data" is empty'),
        ({"data": [[]]}, "empty rows"),
        ({"data": [[1, 2], [3]]}, "row 0 is a list of 2 values, row 1 is a list of 1 values"),
        ({"data": [[1], 2]}, "row 0 is a list of 1 values, row 1 is a single value"),
        ({"data": [[{"a": 1}]]}, "must be numbers, strings, booleans or null"),
        ({"data": [[[1], [1, 2]]]}, "all rows of one shape"),
        ({"data": [{"a": 1}, {"b": 1}]}, "record 1 and record 0 differ in a, b"),
        ({"data": [{"a": 1}, [1]]}, 'row 0 of "data" is an object, row 1 is a list of 1 values'),
        ({"data": [{}]}, "at least one field"),
        ({"data": [{"a": {"b": 1}}]}, "the values in column a must be"),
        ({"data": [{"a": [1]}, {"a": [1, 2]}]}, "the rows of column a differ"),
        ({"data": [{"b64": "no base64!"}]}, "is not base64"),
        ({"data": [{"b64": "AA=="}, {"b64": 1}]}, "must be numbers, strings"),
        ({"columns": ["a"], "data": [[1, 2]]}, 'there are 1 "columns", and row 0 of "data" is a list of 2 values'),
        ({"columns": ["a", "a"], "data": [[1, 2]]}, "a name twice"),
        ({"columns": "a", "data": [[1]]}, '"columns" must be a list of names'),
    ],
)
def test_refusals_say_what_is_wrong(body: Any, said: str) -> None:
    with pytest.raises(InputInvalid) as raised:
        decoded(body)
    assert said in raised.value.message


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "", "application/problem+json"]
)
def test_json_content_types(kind: str) -> None:
    assert len(decoded({"data": [[1]]}, kind).inputs) == 1


@pytest.mark.parametrize("kind", ["text/csv", "application/x-www-form-urlencoded", "json", "text/json+json"])
def test_other_content_types(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=f"Content-Type {kind.replace('+', '.')} is not supported"):
        decoded({"data": [[1]]}, kind)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    with suppress(InputInvalid):
        decode(body, JSON)


@given(JSON_VALUES, st.none() | JSON_VALUES)
def test_any_json_is_decoded_or_refused(data: Any, columns: Any) -> None:
    body = {"data": data} if columns is None else {"data": data, "columns": columns}
    try:
        call = decode(json.dumps(body).encode(), JSON)
    except InputInvalid:
        return
    assert all(len(array) == len(data) for array in call.inputs.arrays)
    assert all(array.dtype.kind in "fibO" for array in call.inputs.arrays)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(st.floats(), min_size=n, max_size=n), min_size=1)))
def test_numbers_come_through_exactly(rows: list[list[float]]) -> None:
    body = orjson.dumps({"data": rows})
    (array,) = decode(body, JSON).inputs.arrays
    expected = [[value if math.isfinite(value) else math.nan for value in row] for row in rows]
    np.testing.assert_array_equal(array, expected)


def test_one_long_text_does_not_make_room_for_itself_in_every_cell() -> None:
    data = ["x" * 2_000_000, *["y"] * 50_000]
    assert decoded({"data": data}).inputs.arrays[0].dtype == object


@pytest.mark.parametrize(
    ("arrays", "names", "expected"),
    [
        ((np.array([0, 2]),), None, [0, 2]),
        ((np.array([[0.25, 0.75]], dtype=np.float32),), None, [[0.25, 0.75]]),
        ((np.array([1.0, np.nan, np.inf]),), None, [1.0, None, None]),
        ((np.array(["a", "b"]),), None, ["a", "b"]),
        ((np.array(["a", None, np.float64("nan"), np.int64(3)], dtype=object),), None, ["a", None, None, 3]),
        ((np.array([True]),), None, [True]),
        ((np.array([1, 2], dtype=">i4"),), None, [1, 2]),
        ((np.arange(6).reshape(3, 2).T,), None, [[0, 2, 4], [1, 3, 5]]),
        ((np.array([1]), np.array([[2, 3]])), None, [[1], [[2, 3]]]),
        ((np.array([1]), np.array([2])), ("label", "score"), {"label": [1], "score": [2]}),
        ((np.array(["2026-01-02"], dtype="datetime64[D]"),), None, ["2026-01-02"]),
    ],
)
def test_results_are_valid_json(arrays: tuple, names: tuple | None, expected: Any) -> None:
    written = encode(Tensors(arrays, names), decoded({"data": [[1]]})).body
    assert json.loads(written, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON")) == expected


@given(st.lists(st.floats(width=32), min_size=1))
def test_any_floats_are_valid_json(values: list[float]) -> None:
    written = json.loads(encode(Tensors((np.array(values, dtype=np.float32),)), decoded({"data": [[1]]})).body)
    expected = [value if math.isfinite(value) else None for value in values]
    assert [None if value is None else float(np.float32(value)) for value in written] == expected
