"""What the schema decorators of a script give: Swagger, V2's metadata and tensors, and conversions of all types."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask import Flask

from scoring_runtime.azureml_shims.parameters import SchemaMismatch, StandardPythonParameterType, convert
from scoring_runtime.azureml_shims.parameters_numpy import NumpyParameterType
from scoring_runtime.azureml_shims.parameters_pandas import PandasParameterType
from scoring_runtime.azureml_shims.schemas import (
    get_input_schema,
    get_output_schema,
    get_supported_versions,
    input_schema,
    is_schema_decorated,
    output_schema,
)

AppOf = Callable[..., Flask]


@pytest.mark.parametrize(
    ("version", "said"), [("", "2.0"), ("2", "2.0"), ("3", "3.0.3"), ("3.0", "3.0.3"), ("3.1", "3.1.0")]
)
def test_swagger(script_app: AppOf, version: str, said: str) -> None:
    client = script_app("schema_numpy", model_name="sums", path_prefix="/team").test_client()
    response = client.get(f"/team/swagger.json{f'?version={version}' if version else ''}")
    assert response.status_code == 200, response.text
    document = response.get_json()
    assert document.get("swagger", document.get("openapi")) == said
    assert document["info"]["title"] == "sums"
    schemas = document["definitions"] if said == "2.0" else document["components"]["schemas"]
    assert schemas["ServiceInput"] == {
        "type": "object",
        "properties": {
            "data": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number", "format": "double"}},
                "format": "numpy.ndarray",
            }
        },
        "required": ["data"],
        "example": {"data": [[1.0, 2.0, 3.0]]},
    }
    assert schemas["ServiceOutput"]["example"] == [6.0]
    assert "/team/score" in document["paths"]


def test_no_swagger(script_app: AppOf) -> None:
    client = script_app("plain_text").test_client()
    assert client.get("/swagger.json").status_code == 404
    assert script_app("schema_numpy").test_client().get("/swagger.json?version=4").status_code == 404
    # A table of numbers and texts is a list of lists of mixed types in orient values, which version 2 cannot say.
    mixed = PandasParameterType(pd.DataFrame({"a": [1], "b": ["x"]}), orient="values", apply_column_names=True)
    assert mixed.supported_versions() == ["3.0", "3.1"]


def test_a_description_of_the_users_own(script_app: AppOf, script_folder: Callable[..., Path]) -> None:
    folder = script_folder("plain_text")
    (folder / "swagger.json").write_text('{"swagger": "2.0", "own": 2}')
    (folder / "swagger3.json").write_text('{"openapi": "3.0.0", "own": 3}')
    client = script_app(folder).test_client()
    assert client.get("/swagger.json").get_json()["own"] == 2
    assert client.get("/swagger.json?version=3").get_json()["own"] == 3
    assert client.get("/swagger.json?version=3.1").status_code == 404


def test_swagger_needs_the_key(script_app: AppOf, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    client = script_app("schema_numpy", auth="key", keys_dir=tmp_path).test_client()
    assert client.get("/swagger.json").status_code == 401
    response = client.get("/swagger.json", headers={"Authorization": "Bearer the-key"})
    assert response.get_json()["securityDefinitions"]["Bearer"]["name"] == "Authorization"


def test_v2(script_app: AppOf) -> None:
    client = script_app("schema_numpy", model_name="sums").test_client()
    metadata = client.get("/v2/models/sums").get_json()
    assert metadata["platform"] == "python_script"
    assert metadata["inputs"] == [{"name": "data", "datatype": "FP64", "shape": [-1, -1]}]
    tensor = {"name": "data", "datatype": "FP64", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
    answered = client.post("/v2/models/sums/infer", json={"inputs": [tensor]})
    assert answered.status_code == 200, answered.text
    (output,) = answered.get_json()["outputs"]
    assert (output["shape"], output["data"]) == ([2], [6.0, 15.0])
    wrong = {**tensor, "shape": [3, 2]}
    refused = client.post("/v2/models/sums/infer", json={"inputs": [wrong]})
    assert (refused.status_code, "shape (any, 3) expected" in refused.get_json()["error"]) == (400, True)


def test_v1(script_app: AppOf) -> None:
    client = script_app("schema_numpy", model_name="sums").test_client()
    answered = client.post("/v1/models/sums:predict", json={"instances": [[1, 2, 3], [4, 5, 6]]})
    assert (answered.status_code, answered.get_json()) == (200, {"predictions": [6.0, 15.0]})


def test_scripts_without_a_schema_have_only_score(script_app: AppOf) -> None:
    client = script_app("plain_text", model_name="sums").test_client()
    assert client.get("/v2/models/sums/ready").status_code == 200
    tensor = {"name": "data", "datatype": "FP64", "shape": [1], "data": [1]}
    refused = client.post("/v2/models/sums/infer", json={"inputs": [tensor]})
    assert (refused.status_code, "send them to /score" in refused.get_json()["error"]) == (400, True)


def test_decorators_on_a_plain_function() -> None:
    @input_schema("a", NumpyParameterType(np.array([1, 2], dtype=np.int16)))
    @input_schema("b", StandardPythonParameterType({"x": 1.0}), convert_to_provided_type=False)
    @output_schema(StandardPythonParameterType([True]))
    def run(a: Any, b: Any, c: Any = None) -> Any:
        """Kept."""
        return a, b, c

    assert (run.__doc__, is_schema_decorated(run), is_schema_decorated(print)) == ("Kept.", True, False)
    a, b, c = run([3, 4], {"x": "anything"}, 5)
    assert (a.dtype, a.tolist(), b, c) == (np.int16, [3, 4], {"x": "anything"}, 5)
    assert run(b=1, a=np.array([1]))[0].tolist() == [1]
    schema = get_input_schema(run)
    assert schema["required"] == ["a", "b"]
    assert schema["properties"]["a"] == {
        "type": "array", "items": {"type": "integer", "format": "int16"}, "format": "numpy.ndarray"
    }  # fmt: skip
    assert schema["properties"]["b"]["properties"] == {"x": {"type": "number", "format": "double"}}
    assert get_output_schema(run)["items"] == {"type": "boolean"}
    assert get_supported_versions(run) == ["2.0", "3.0", "3.1"]
    with pytest.raises(SchemaMismatch, match="a: an array of shape"):
        run([[1]], {})
    with pytest.raises(ValueError, match="two @output_schema"):
        output_schema(StandardPythonParameterType(1))(run)
    with pytest.raises(TypeError, match="needs a parameter type"):
        input_schema("a", np.array([1]))  # type: ignore[arg-type]


ARRAYS = [
    (np.array(["2020-01-31"], dtype="datetime64[D]"), ["2021-05-06"], np.array(["2021-05-06"], dtype="datetime64[D]")),
    (np.array([3], dtype="timedelta64[h]"), ["5 hours"], np.array([5], dtype="timedelta64[h]")),
    (np.array(["abc"]), ["a longer text"], np.array(["a longer text"])),
    (np.array([True]), [False, True], np.array([False, True])),
    (np.array([[1]], dtype=np.uint8), [[200], [3]], np.array([[200], [3]], dtype=np.uint8)),
    (
        np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        [{"a": 3, "b": 4.5}, [5, 6]],
        np.array([(3, 4.5), (5, 6)], dtype=[("a", "i4"), ("b", "f8")]),
    ),
]


@pytest.mark.parametrize(("sample", "given", "expected"), ARRAYS, ids=[str(case[0].dtype) for case in ARRAYS])
def test_arrays(sample: Any, given: list, expected: Any) -> None:
    kind = NumpyParameterType(sample)
    found = convert(given, kind, "data")
    assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist())
    # The example is what a client may send, as JSON.
    example = json.loads(json.dumps(kind.input_to_swagger()["example"]))
    assert convert(example, kind, "data").tolist() == sample.tolist()


def test_arrays_of_any_shape_and_type() -> None:
    loose = NumpyParameterType(np.array([[1.5]]), enforce_column_type=False, enforce_shape=False)
    assert convert(["a", "b"], loose, "data").tolist() == ["a", "b"]


FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.to_datetime(["2020-01-01", "2020-01-02"])})


@pytest.mark.parametrize("orient", ["split", "records", "index", "columns", "values", "table"])
def test_tables_in_every_orient(orient: str) -> None:
    kind = PandasParameterType(FRAME, orient=orient, apply_column_names=orient == "values")
    sent = json.loads(FRAME.to_json(orient=orient, date_format="iso"))  # type: ignore[call-overload]
    found = convert(sent, kind, "data")
    assert found.dtypes.astype(str).str.replace("ms", "us").to_dict().keys() == FRAME.dtypes.to_dict().keys()
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == ["x", "y"]
    assert [str(moment)[:10] for moment in found["c"]] == ["2020-01-01", "2020-01-02"]
    assert kind.input_to_swagger()["format"] == f"pandas.DataFrame:{orient}"


def test_tables_with_numbers_for_names() -> None:
    kind = PandasParameterType(pd.DataFrame([[1.5, 2.5]]))
    found = convert([{"1": 4, "0": 3}], kind, "data")
    assert (list(found.columns), found.iloc[0].tolist()) == ([0, 1], [3.0, 4.0])
    with pytest.raises(SchemaMismatch, match="data: the columns 0, 1 expected, got 1 columns; missing: 1"):
        convert([{"0": 3}], kind, "data")
    with pytest.raises(SchemaMismatch, match="data: ValueError"):
        convert([{"0": 3, "1": "x"}], kind, "data")


@pytest.mark.parametrize(
    "sample",
    [True, 3, 2.5, "text", b"\x00\xff", bytearray(b"ab"), datetime.date(2020, 2, 29), [1, 2], {"a": [1]}],
    ids=lambda sample: type(sample).__name__,
)
def test_standard_samples_are_their_own_input(sample: Any) -> None:
    kind = StandardPythonParameterType(sample)
    example = json.loads(json.dumps(kind.input_to_swagger()["example"]))
    assert convert(example, kind, "x") == sample


def test_standard_times() -> None:
    noon = datetime.datetime(2020, 2, 29, 12, 0, tzinfo=datetime.UTC)
    kind = StandardPythonParameterType(noon)
    assert convert(kind.input_to_swagger()["example"], kind, "x") == noon
    kind = StandardPythonParameterType(noon.timetz())
    assert convert(kind.input_to_swagger()["example"], kind, "x") == noon.timetz()


def test_a_sample_that_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        StandardPythonParameterType(object()).input_to_swagger()
    with pytest.raises(ValueError, match="cannot be None"):
        StandardPythonParameterType(None).input_to_swagger()
