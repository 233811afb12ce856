"""A new default version gets its traffic step by step, and proves itself at each: pure functions of numbers and time.

`counts` knows what was counted, `judgement` whether it is good enough, `state` how far a rollout is (and how the
status says it), `progress` what comes next. Asking the routers is the business of `router_metrics`.
"""

from scoring_operator.rollout.counts import Counts, Latency, Summary
from scoring_operator.rollout.progress import Measured, Situation, advance, next_look, situation_of
from scoring_operator.rollout.state import Met, Phase, Record, State, Why, read_record, record_status

__all__ = [
    "Counts",
    "Latency",
    "Measured",
    "Met",
    "Phase",
    "Record",
    "Situation",
    "State",
    "Summary",
    "Why",
    "advance",
    "next_look",
    "read_record",
    "record_status",
    "situation_of",
]
