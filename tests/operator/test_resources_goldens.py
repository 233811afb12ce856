"""Whole manifests of the fixture services, in the order they are applied, against tests/operator/goldens.

`pytest --update-goldens` writes what is built now: read the diff before committing it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from scoring_operator.desired import desired_children
from tests.operator.services import HERE, fixture, fixture_names, yaml_of


@pytest.mark.parametrize("name", fixture_names())
def test_golden(name: str, golden: Callable[[Path, str], None]) -> None:
    found = fixture(name)
    children = desired_children(found.service, found.surroundings)
    golden(HERE / "goldens" / f"{name}.yaml", yaml_of(children))


@pytest.mark.parametrize("name", fixture_names())
def test_building_twice_gives_the_same(name: str) -> None:
    one, other = fixture(name), fixture(name)
    assert desired_children(one.service, one.surroundings) == desired_children(other.service, other.surroundings)


def test_every_golden_has_its_fixture() -> None:
    assert sorted(path.stem for path in (HERE / "goldens").glob("*.yaml")) == fixture_names()
