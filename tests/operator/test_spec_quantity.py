"""Quantities in the API server's spelling; tests/e2e/test_manifests.py reads the table back from a real one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.spec.quantity import canonical_quantity, quantity_value
from tests.operator.services import SPECS

TABLE = [line.split() for line in (SPECS / "quantities.txt").read_text().splitlines() if line and line[0] != "#"]

numbers = st.one_of(
    st.integers(0, 10**12).map(str),
    st.decimals(0, 10**6, places=4, allow_nan=False, allow_infinity=False).map(lambda number: f"{number:f}"),
)
suffixes = st.sampled_from(["", "n", "u", "m", "k", "M", "Ki", "Mi", "e3", "E-3", "e0"])
quantities = st.builds(lambda number, suffix: number + suffix, numbers, suffixes)


@pytest.mark.parametrize(("written", "returned"), TABLE)
def test_canonical(written: str, returned: str) -> None:
    assert canonical_quantity(written) == returned


@given(quantities)
def test_canonical_means_the_same_and_stays(text: str) -> None:
    canonical = canonical_quantity(text)
    assert quantity_value(canonical) == quantity_value(text)
    assert canonical_quantity(canonical) == canonical


@given(st.integers(1, 2**52), st.integers(1, 2**52))
def test_order_is_that_of_the_numbers(one: int, other: int) -> None:
    assert (quantity_value(f"{one}Ki") < quantity_value(f"{other}Ki")) == (one < other)
    assert quantity_value(f"{one}m") == Decimal(one) / 1000


@pytest.mark.parametrize(
    "text", ["", "lots", "1GB", "1 Gi", "1.2.3", "--1", "m", "1e", "1Ei2", "0x10", "9e30", "NaN", "1_000"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|64 bits"):
        canonical_quantity(text)
