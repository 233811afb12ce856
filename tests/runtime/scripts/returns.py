import dataclasses
import datetime
import decimal

import numpy as np
import pandas as pd


@dataclasses.dataclass
class Point:
    x: int


class Unknown:
    pass


VALUES = {
    "none": None,
    "text": 'a "text"',
    "json": '{"a": 1}',
    "number": np.float32(0.5),
    "array": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "nan": np.array([1.0, np.nan]),
    "mixed": {
        "a": np.int64(3),
        "b": [
            np.bool_(True),
            {
                1,
            },
        ],
        5: (1, "x"),
    },
    "table": pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "series": pd.Series([1.5, 2.5]),
    "time": [datetime.date(2020, 1, 31), pd.Timestamp("2020-01-31T12:00"), np.datetime64("2020-01-31")],
    "dataclass": Point(3),
    "decimal": decimal.Decimal("1.5"),
    "large": 2**70,
    "bytes": b"bytes",
    "unknown": Unknown(),
}


def init():
    pass


def run(data):
    return VALUES[data]
