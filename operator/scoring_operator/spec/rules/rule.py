"""What a rule is, and the checks that many of them make."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scoring_operator.spec import wire


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for every object of a wire type."""

    sentence: str
    holds: Callable[[Any], bool]
    at: str = ""
    """The field (its name in the raw spec) that the sentence is about; empty: the object as a whole."""


Table = Mapping[type[wire.Wire], tuple[Rule, ...]]
"""The rules of wire types."""


def matches(name: str, pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """Whether the field is missing, or a text of this form."""

    def check(part: Any) -> bool:
        value = getattr(part, name)
        return value is None or pattern.fullmatch(value) is not None

    return check


def all_match(name: str, pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """Whether all of a list's texts have this form."""
    return lambda part: all(pattern.fullmatch(value) for value in getattr(part, name) or ())
