"""The parser refuses what the API server refuses, in the same words (tests/e2e/test_refusals.py asks the server).

case                                   expected
each spec of specs/refused.yaml        SpecError with the words
each spec of specs/accepted.yaml       parsed
each rule of the parser                broken by at least one of the specs
"""

from collections.abc import Iterator

import pytest

from scoring_operator.errors import SpecError
from scoring_operator.spec import parse_service
from scoring_operator.spec.rules import NOT_YET, RULES
from tests.operator.services import raw_service, spec_cases


def refusal(case: dict) -> str:
    raw = raw_service(case.get("name", "iris"))
    with pytest.raises(SpecError) as caught:
        parse_service({**raw, "spec": case["spec"]})
    return caught.value.message


@pytest.mark.parametrize("case", spec_cases("refused.yaml"), ids=lambda case: case["case"])
def test_refused_with_advice(case: dict) -> None:
    message = refusal(case)
    for words in case["says"]:
        assert words in message


@pytest.mark.parametrize("case", spec_cases("accepted.yaml"), ids=lambda case: case["case"])
def test_accepted(case: dict) -> None:
    raw = raw_service(case.get("name", "iris"))
    assert parse_service({**raw, "spec": case["spec"]}).name == raw["metadata"]["name"]


def sentences() -> Iterator[str]:
    for table in (RULES, NOT_YET):
        for rules in table.values():
            yield from (rule.sentence for rule in rules)


def test_every_rule_is_broken_by_a_case() -> None:
    told = "\n".join(refusal(case) for case in spec_cases("refused.yaml"))
    assert [sentence for sentence in sentences() if sentence not in told] == []
