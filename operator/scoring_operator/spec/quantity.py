"""Kubernetes quantities, in the spelling in which the API server returns them.

The API server rewrites what it is given (`1000m` → `1`, `0.5` → `500m`, `1024Mi` → `1Gi`). A manifest in any other
spelling would differ from the live object for ever, so the operator writes the canonical one.
Sources: k8s.io/apimachinery/pkg/api/resource, "Quantity", the section on the canonical form; and the defaults of
core/v1, which round the resources of a container up to thousandths.
"""

import re
from decimal import ROUND_UP, Context, Decimal

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(\d+(\.\d*)?|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,2}|)", re.ASCII
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_MILLI = Decimal("1e-3")
_LARGEST = 2**63 - 1
_EXACT = Context(prec=200)


def quantity_value(text: str) -> Decimal:
    """The number that a quantity such as `500m` or `1Gi` stands for, rounded up to thousandths.

    Raises ValueError when `text` is no quantity or beyond 64 bits.
    """
    return _parsed(text)[0]


def canonical_quantity(text: str) -> str:
    """`text` in canonical form. Raises ValueError when it is no quantity."""
    value, suffix = _parsed(text)
    if value == 0:
        return "0"
    if suffix in _BINARY[1:] and abs(value) >= 1024 and value == value.to_integral_value():
        return _binary(int(value))
    digits, power = _without_zeros(value)
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return f"{digits}e{power}" if power else f"{digits}"
    return f"{digits}{_DECIMAL_SUFFIX[power]}" if power in _DECIMAL_SUFFIX else f"{digits}e{power}"


def _parsed(text: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, suffix = Decimal(match["number"]), match["suffix"]
    if suffix in _DECIMAL:
        value = number.scaleb(_DECIMAL[suffix], _EXACT)
    elif suffix in _BINARY:
        value = _EXACT.multiply(number, Decimal(1024 ** _BINARY.index(suffix)))
    else:
        value = number.scaleb(int(suffix[1:]), _EXACT)
    if abs(value) > _LARGEST:
        raise ValueError(f"{text!r} is beyond 64 bits")
    return value.quantize(_MILLI, rounding=ROUND_UP, context=_EXACT), suffix


def _binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < len(_BINARY) - 1:
        value //= 1024
        power += 1
    return f"{value}{_BINARY[power]}"


def _without_zeros(value: Decimal) -> tuple[int, int]:
    """`value` as digits times 10^power, with the largest power that is a multiple of three."""
    digits, power = int(value.scaleb(3, _EXACT)), -3
    while digits % 1000 == 0:
        digits //= 1000
        power += 3
    return digits, power
