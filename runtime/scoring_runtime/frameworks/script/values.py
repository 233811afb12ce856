"""What `run` returns, as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson

# orjson ends at 64 bits, Python's own writer does not.
_TOO_LONG = "64-bit range"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def to_json(value: Any) -> bytes:
    """Return a value as JSON; None is the empty object, as in Azure, and NaN is null.

    NumPy arrays and numbers, pandas tables (a list of records), series, times, sets, dataclasses, pydantic models and
    PyTorch tensors are understood. Raises TypeError for what has no form in JSON, such as bytes.
    """
    if value is None:
        return b"{}"
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        if _TOO_LONG not in str(error):
            raise
        return json.dumps(value, default=_plain, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    """Return something that orjson writes for what it does not."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    kind = type(value).__name__
    if kind == "DataFrame" and hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if kind in ("Timestamp", "Timedelta", "Period"):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    if kind in ("NaTType", "NAType"):
        return None
    if kind == "Decimal":
        return float(value)
    if kind == "Tensor" and hasattr(value, "detach"):
        return value.detach().cpu().tolist()
    for method in ("model_dump", "tolist"):
        found = getattr(value, method, None)
        if callable(found):
            return found()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON")
