"""Which fields go together, as tables: what the CRD's CEL rules say, said again for API servers that do not run them.

The sentences are the CRD's own, word for word (tests/contract holds the two together): each says what is wrong and what
to write instead. `NOT_YET` holds what the API already has room for and the operator cannot do; to support such a field,
delete its line here and its rule in the CRD.
"""

from collections.abc import Iterator
from typing import Any

from scoring_operator.spec import wire
from scoring_operator.spec.rules.access import ACCESS
from scoring_operator.spec.rules.models import MODELS
from scoring_operator.spec.rules.pods import PODS, USERS_VARIABLES
from scoring_operator.spec.rules.rule import Table
from scoring_operator.spec.rules.scaling import SCALING
from scoring_operator.spec.rules.service import SERVICE
from scoring_operator.spec.rules.versions import VERSIONS

__all__ = ["NOT_YET", "RULES", "USERS_VARIABLES", "broken_rules"]

RULES: Table = {**SERVICE, **VERSIONS, **MODELS, **PODS, **SCALING, **ACCESS}

NOT_YET: Table = {}


def broken_rules(part: wire.Wire, path: str) -> Iterator[str]:
    """`path: sentence` for each rule that does not hold for `part` or anything in it."""
    for table in (RULES, NOT_YET):
        for kind, rules in table.items():
            if isinstance(part, kind):
                for rule in rules:
                    if not rule.holds(part):
                        yield f"{path}.{rule.at}: {rule.sentence}" if rule.at else f"{path}: {rule.sentence}"
    for name, info in type(part).model_fields.items():
        yield from _broken_inside(getattr(part, name), f"{path}.{info.alias or name}")


def _broken_inside(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, wire.Wire):
        yield from broken_rules(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_inside(item, f"{path}[{index}]")
