"""One minute of the soak test (`python -m benchmarks.runtime.soak` runs ten), and what makes it fail.

case                                         expected
a minute of use                              no wrong answer, no unintended status, memory stays
a run with a fault                           each kind of fault is reported
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.runtime.soak import Memory, judged, questions_about, soak
from benchmarks.runtime.soak_clients import Tally


@pytest.mark.slow
def test_a_minute(tmp_path: Path, iris_folder: Path) -> None:
    shutil.copytree(iris_folder, tmp_path / "model")
    report, problems = soak(tmp_path, 60)
    assert problems == [], report
    assert report["statuses"]["malformed 401"] > 0
    assert report["statuses"]["slow 200"] > 0


def steady(start: float = 100, end: float = 100, last: float | None = None) -> Memory:
    """So many MiB, in a line from start to end, the last quarter going on to `last`."""
    values = [start + (end - start) * number / 75 for number in range(75)]
    values += [end + ((last or end) - end) * number / 25 for number in range(25)]
    return Memory(list(enumerate(values)))


def tally(**statuses: int) -> Tally:
    made = Tally(good=statuses.get("200", 10_000))
    made.statuses.update(statuses)
    return made


@pytest.mark.parametrize(
    ("run", "memory", "said"),
    [
        (tally(), steady(), None),
        (tally(), steady(100, 103, 103), None),
        (tally(**{"503": 3}), steady(), None),
        (tally(), steady(100, 115), "memory grew by"),
        (tally(), steady(100, 100, 104), "memory still grew by"),
        (tally(**{"500": 1}), steady(), "1 times the status 500"),
        (tally(**{"malformed 502": 2}), steady(), "2 times the status malformed 502"),
        (tally(**{"503": 100}), steady(), "100 good requests were turned away"),
        (tally(**{"200": 0}), steady(), "not one request was answered"),
    ],
)
def test_what_is_wrong_with_a_run(run: Tally, memory: Memory, said: str | None) -> None:
    problems: list[Any] = judged(run, memory, 60)
    assert len(problems) == (0 if said is None else 1), problems
    assert said is None or said in problems[0]


def test_the_expected_answers_differ(iris_folder: Path) -> None:
    """Otherwise an answer that went to another client would look right."""
    questions, large = questions_about(iris_folder / "model.joblib")
    assert len({one.answer for one in questions}) == 6
    assert len(large.answer) > 2000
