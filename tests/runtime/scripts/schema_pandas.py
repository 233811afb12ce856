import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema

input_sample = pd.DataFrame(
    {"age": pd.Series([40], dtype="int64"), "income": [1.5], "city": ["Bonn"], "since": pd.to_datetime(["2020-01-31"])}
)


def init():
    pass


@input_schema("people", PandasParameterType(input_sample))
@output_schema(PandasParameterType(pd.DataFrame({"label": ["x"]})))
def run(people):
    assert list(people.columns) == list(input_sample.columns)
    assert people["since"].dtype.kind == "M"
    labels = people["city"] + people["age"].add(1).astype(str)
    return pd.DataFrame({"label": labels, "income": people["income"], "since": people["since"]})
