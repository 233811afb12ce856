import datetime

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    pass


@input_schema("name", StandardPythonParameterType("Ada"))
@input_schema("count", StandardPythonParameterType(3))
@input_schema("weight", StandardPythonParameterType(0.5))
@input_schema("day", StandardPythonParameterType(datetime.date(2020, 2, 29)))
@input_schema("moment", StandardPythonParameterType(datetime.datetime(2020, 2, 29, 12, 30)))
@input_schema("payload", StandardPythonParameterType(b"bytes"))
@output_schema(StandardPythonParameterType({"text": "Ada"}))
def run(name, count, weight, day, moment, payload):
    return (
        {
            "text": name * count,
            "weight": weight * 2,
            "month": day.month,
            "hour": moment.hour,
            "offset": moment.utcoffset(),
            "size": len(payload),
        }
        if moment.tzinfo is None
        else {"hour": moment.hour, "offset": moment.utcoffset().total_seconds()}
    )
