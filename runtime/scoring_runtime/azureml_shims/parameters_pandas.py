"""`PandasParameterType`: an argument of `run` that is a table."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pandas as pd

from scoring_runtime.azureml_shims.parameters import (
    AbstractParameterType,
    SchemaMismatch,
    swagger_of_dict,
    swagger_of_list,
)

_ORIENTS = ("split", "records", "index", "columns", "values", "table")
_LISTS = ("records", "values")


class PandasParameterType(AbstractParameterType):
    """A table with the sample's columns and their types, written in JSON in one of pandas' orients.

    `enforce_column_type` is about the types, `enforce_shape` about the number of columns. `apply_column_names` gives
    the sample's names to the columns in their order; orient values, which has no names, needs it.
    """

    def __init__(
        self,
        sample_input: Any,
        enforce_column_type: bool = True,
        enforce_shape: bool = True,
        apply_column_names: bool = False,
        orient: str = "records",
    ) -> None:
        if not isinstance(sample_input, pd.DataFrame):
            raise TypeError(f"the sample of a PandasParameterType must be a pandas.DataFrame, not {type(sample_input)}")
        if orient not in _ORIENTS:
            raise ValueError(f"orient {orient!r} is not one of {', '.join(_ORIENTS)}")
        super().__init__(sample_input)
        self.enforce_column_type = enforce_column_type
        self.enforce_shape = enforce_shape
        self.apply_column_names = apply_column_names
        self.orient = orient

    def deserialize_input(self, input_data: Any) -> Any:
        """Return the table. Raises ValueError when it has other columns than the sample, or values of another type."""
        if isinstance(input_data, pd.DataFrame):
            return input_data
        wanted: type = list if self.orient in _LISTS else dict
        if not isinstance(input_data, list | dict):
            raise SchemaMismatch(f"a table expected (pandas' orient {self.orient}, a JSON {wanted.__name__})")
        frame = self._named(self._read(input_data))
        if self.enforce_shape and frame.shape[1] != self.sample_input.shape[1]:
            raise SchemaMismatch(self._what_differs(frame))
        return self._typed(frame) if self.enforce_column_type else frame

    def input_to_swagger(self) -> dict[str, Any]:
        """See the base class."""
        sample = json.loads(self.sample_input.to_json(orient=self.orient, date_format="iso"))
        schema = swagger_of_list(sample) if self.orient in _LISTS else swagger_of_dict(sample)
        if self.orient == "records" and sample:
            for name, dtype in self.sample_input.dtypes.items():
                form = {"M": "date-time", "m": "timedelta"}.get(getattr(dtype, "kind", ""))
                if form:
                    schema["items"]["properties"][str(name)]["format"] = form
        schema["format"] = f"pandas.DataFrame:{self.orient}"
        return schema

    def _read(self, given: Any) -> Any:
        if self.orient == "table":
            return pd.read_json(StringIO(json.dumps(given)), orient="table")
        if self.orient == "split":
            return pd.DataFrame(given["data"], columns=given.get("columns"), index=given.get("index"))
        if self.orient == "index":
            return pd.DataFrame.from_dict(given, orient="index")
        return pd.DataFrame(given)

    def _named(self, frame: Any) -> Any:
        """Give the columns the sample's labels and order; names in JSON are always texts, labels need not be."""
        columns = self.sample_input.columns
        if self.apply_column_names and frame.shape[1] == len(columns):
            frame.columns = columns.copy()
            return frame
        labels = {str(label): label for label in columns}
        frame = frame.rename(columns=lambda name: labels.get(str(name), name))
        return frame[list(columns)] if set(frame.columns) == set(columns) else frame

    def _typed(self, frame: Any) -> Any:
        dtypes = self.sample_input.dtypes.to_dict()
        for name in frame.columns:
            kind = getattr(dtypes.get(name), "kind", "")
            if kind == "m":
                frame[name] = pd.to_timedelta(frame[name])
            elif kind == "M":
                frame[name] = pd.to_datetime(frame[name])
        return frame.astype({name: dtypes.get(name, object) for name in frame.columns})

    def _what_differs(self, frame: Any) -> str:
        wanted, given = list(map(str, self.sample_input.columns)), list(map(str, frame.columns))
        missing = ", ".join(sorted(set(wanted) - set(given)))
        said = f"the columns {', '.join(wanted)} expected, got {len(given)} columns"
        return f"{said}; missing: {missing}" if missing else said
