"""How a converted model is compared: which answers are too close to tell, and how many times as fast it is."""

from typing import Any

import numpy as np
import pytest

from scoring_runtime.frameworks.accelerate import agreement


@pytest.mark.parametrize(
    ("scores", "close"),
    [
        ([[0.5, 0.5]], [True]),
        ([[0.2, 0.399999, 0.400001], [0.2, 0.3, 0.5]], [True, False]),
        ([0.0, 1e-6, -0.1], [True, True, False]),
        ([[1e6, 1e6 + 1, 0]], [True]),
        ([[0.2, 0.3, 0.5]], [False]),
        ([[0.3], [0.0]], [False, True]),
    ],
)
def test_what_is_too_close(scores: Any, close: Any) -> None:
    assert agreement.undecided(np.array(scores)).tolist() == close
    for times in (1, 50):
        assert agreement.any_undecided(np.array(scores * times)) == any(close)


def test_how_much_faster() -> None:
    """Of two calls whose times are known: the longer by the shorter."""
    clock = iter(np.cumsum([0.0] + [0.0, 0.4, 0.0, 0.1] * 2 + [0.0] * 50).tolist())
    turns: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "_TURNS", 2)
        patch.setattr(agreement.time, "perf_counter", lambda: next(clock))
        found = agreement.times_faster(lambda: turns.append("original"), lambda: turns.append("converted"))
    assert (found, turns) == (pytest.approx(4.0), ["original", "converted"] * 2)
