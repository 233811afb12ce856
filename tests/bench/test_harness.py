"""The pure parts of the model server's benchmark: a harness that misreads a figure is worse than none.

wrk's words           rate, percentiles in every unit, answers other than 2xx, broken connections, nonsense
forms                 one row in, the prediction out, for every server and kind of rows; the binary head's length
answers               classes and likeliest classes; a wrong one, a missing one, a probability that is off
goals                 the ratios, who counts as the fastest, what failed or is a yardstick does not count; turns count
                      more than rounds
in turn               who is measured first alternates; the ratio is the median of the turns', not of the sums
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.runtime import forms
from benchmarks.runtime.forms import same
from benchmarks.runtime.goals import goals
from benchmarks.runtime.lineup import CONVERTED, OURS, PEERS
from benchmarks.runtime.load import Figures, parse_wrk
from benchmarks.runtime.measure import Result
from benchmarks.runtime.report import write
from benchmarks.runtime.rivals import Rivalry
from benchmarks.runtime.run import Run
from benchmarks.runtime.server import Memory
from benchmarks.runtime.turns import Turn, Turns, in_turn

SAID = """Running 4s test @ http://127.0.0.1:1/score
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.20ms    3.00ms  40.00ms   95.00%
    Req/Sec     8.00k     1.00k   12.00k    70.00%
  Latency Distribution
     50%  912.00us
     75%    1.50ms
     90%    2.50ms
     99%    1.25s
  35000 requests in 4.01s, 8.00MB read
Requests/sec:   8728.18
Transfer/sec:      2.00MB
"""


class TestWrk:
    def test_rate_and_percentiles_in_milliseconds(self) -> None:
        assert parse_wrk(SAID) == Figures(8728.18, 0.912, 1250.0, 35000, 0)

    def test_failures_are_answers_and_connections(self) -> None:
        broken = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n"
        assert parse_wrk(SAID.replace("Requests/sec", broken + "Requests/sec")).failed == 110

    @pytest.mark.parametrize("said", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
    def test_anything_else_is_an_error(self, said: str) -> None:
        with pytest.raises(ValueError, match="wrk said"):
            parse_wrk(said)


class TestForms:
    @pytest.mark.parametrize(
        ("form", "answer"),
        [
            (forms.AZURE, [2]),
            (forms.V1, {"predictions": [2]}),
            (forms.V2, {"outputs": [{"name": "output", "datatype": "INT64", "shape": [1, 1], "data": [2]}]}),
            (forms.MLFLOW, {"predictions": [2]}),
            (forms.OWN, {"prediction": 2}),
            (forms.OWN_ROWS, [2]),
        ],
    )
    def test_a_row_of_numbers(self, form: forms.Form, answer: object) -> None:
        assert b"[5.1, 3.5]" in form.body([5.1, 3.5])
        assert form.read(answer) == 2

    @pytest.mark.parametrize("form", [forms.V2_COLUMNS, forms.V2_PLAIN_COLUMNS])
    def test_texts_are_one_tensor_a_column(self, form: forms.Form) -> None:
        inputs = json.loads(form.body({"question": "why", "details": "so"}))["inputs"]
        assert [(one["name"], one["data"], one["shape"]) for one in inputs] == [
            ("question", ["why"], [1, 1]),
            ("details", ["so"], [1, 1]),
        ]

    @pytest.mark.parametrize("size", [1, 99, 100_000])
    def test_the_binary_head_is_as_long_as_its_header_says(self, tmp_path: Path, size: int) -> None:
        file = tmp_path / "image.jpg"
        file.write_bytes(b"x" * size)
        body = forms.V2_IMAGE.body(str(file))
        length = int(forms.V2_IMAGE.headers[forms.HEAD_LENGTH])
        head = json.loads(body[:length])
        assert head["inputs"][0]["parameters"]["binary_data_size"] == size + 4 == len(body) - length
        assert body[length:] == size.to_bytes(4, "little") + file.read_bytes()


class TestAnswers:
    def test_classes(self) -> None:
        assert same(2, 2)
        assert not same(1, 2)
        assert not same(None, 0)

    @pytest.mark.parametrize(
        ("answer", "right"),
        [
            ([["a", 0.5], ["b", 0.3]], True),
            ([{"label": "a", "probability": 0.51}, {"label": "b", "probability": 0.3}], True),
            ([["a", 0.6], ["b", 0.3]], False),
            ([["b", 0.5], ["c", 0.3]], False),
            ([["a", 0.5]], False),
        ],
    )
    def test_likeliest_classes(self, answer: list[object], right: bool) -> None:
        assert same(answer, [["a", 0.5], ["b", 0.3]]) is right


def _result(name: str, one: float, many: float, p99: float, mebibytes: float = 200) -> Result:
    peer = next(peer for peer in PEERS if peer.name == name)
    figures = {1: [Figures(one, 1.0, 2.0, 100, 0)], 32: [Figures(many, 1.0, p99, 100, 0)]}
    cpu = {1: [100.0], 32: [50.0]}
    return Result(peer, "pipeline", figures, cpu, [1.0 if name == OURS else 2.0], [Memory(mebibytes, mebibytes)])


def _converted() -> Result:
    return _result(CONVERTED, 6000, 30000, 3)


def _run(*results: Result) -> Run:
    return Run("test", list(results))


class TestGoals:
    def test_ratios_to_the_fastest_of_each_kind(self) -> None:
        run = _run(
            _result(OURS, 3000, 20000, 4, 90),
            _result("kserve", 1500, 1600, 24, 150),
            _result("mlserver", 370, 2500, 155, 170),
            _result("triton", 300, 2500, 29, 270),
        )
        assert [(goal.measured, goal.reached) for goal in goals(run)] == [
            ("8.0 times", False),
            ("4.00 ms, 24.00 ms", True),
            ("8.0 times", True),
            ("4.00 ms, 29.00 ms", True),
            ("2.00 times", True),
            ("90 MiB, 150 MiB", True),
            ("1.00 s, 2.00 s", True),
        ]

    def test_yardsticks_and_failed_servers_do_not_count(self) -> None:
        failed = replace(_result("litserve", 9000, 9000, 1), problem="3 requests failed")
        sketch = _result("yardstick-wsgi", 9000, 50000, 1, 10)
        run = _run(_result(OURS, 3000, 20000, 4), _result("kserve", 1500, 2000, 24), failed, sketch)
        assert goals(run)[0].measured == "10.0 times"
        assert all(goal.reached for goal in goals(run) if "memory" not in goal.what)

    def test_the_converted_model_is_ours_and_no_peer(self) -> None:
        peers = _result("kserve", 1500, 2000, 24), _result("mlserver", 370, 1500, 155)
        of_one, of_both = (goals(_run(_result(OURS, 3000, 20000, 4), *peers, *more)) for more in ((), (_converted(),)))
        assert [goal for goal in of_both if "accelerate" not in goal.what] == of_one
        (last,) = (goal for goal in of_both if "accelerate" in goal.what)
        assert (last.measured, last.wanted, last.reached) == ("4.00 times", "at least 3", True)

    @pytest.mark.parametrize(("clients", "told"), [(32, "6.0 times"), (1, "16.7 times")])
    def test_what_was_measured_in_turn_counts_with_as_many_clients(self, clients: int, told: str) -> None:
        run = _run(_result(OURS, 3000, 20000, 4), _result("kserve", 1500, 1200, 24))
        peer = next(peer for peer in PEERS if peer.name == "kserve")
        run.rivals = [Rivalry(peer, "pipeline", clients, _turns([600, 6000, 600], [100, 1000, 1000]))]
        assert goals(run)[0].measured == told

    def test_nothing_to_say_without_us_or_without_peers(self) -> None:
        assert goals(_run(_result("kserve", 1500, 1600, 24))) == []
        assert goals(_run(_result(OURS, 1500, 1600, 24))) == []


def _turns(ours: list[float], other: list[float]) -> Turns:
    first, second = ([Turn(Figures(rate, 1.0, 2.0, 10, 0), 1e6 / rate) for rate in rates] for rates in (ours, other))
    return Turns(first, second)


class TestInTurn:
    def test_who_is_first_alternates(self) -> None:
        order: list[str] = []
        pairs = in_turn(lambda: order.append("ours") or 1, lambda: order.append("other") or 2, 3)
        assert order == ["other", "ours", "ours", "other", "other", "ours"]
        assert pairs == [(1, 2)] * 3

    def test_a_machine_that_halts_for_a_turn_does_not_decide(self) -> None:
        turns = _turns([1000, 500, 1000, 10], [500, 250, 500, 250])
        assert turns.times == 2.0
        assert turns.cpu == 0.5


def test_the_page_names_every_server_and_why_one_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    failed = replace(_result("kserve", 1, 1, 1), problem="it gave a wrong answer")
    run = _run(_result(OURS, 3000, 20000, 4), _result("azureml", 1000, 1200, 34), failed)
    write(run, keep=False)
    page = capsys.readouterr().out
    assert "| **scoring-operator's runtime** | 3,000 |" in page
    assert "| Azure ML inference server | 1,000 |" in page
    assert "3.0 / 16.7 times" in page
    assert "KServe: it gave a wrong answer" in page


def test_the_page_has_what_was_measured_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(_result(OURS, 3000, 20000, 4), _result("kserve", 1000, 1200, 34))
    peer = next(peer for peer in PEERS if peer.name == "kserve")
    run.rivals = [Rivalry(peer, "pipeline", 32, _turns([9000, 9100, 9200], [1000, 1010, 1020]))]
    run.collection = _turns([960, 970, 980], [1000, 1000, 1000])
    write(run, keep=False)
    page = capsys.readouterr().out
    assert "| KServe | 32 | 9,100 | 1.00 | 2.00 | 1,010 | 1.00 | 2.00 | 9.0 times |" in page
    assert "| 100 % of the requests | 970 | 1.00 | 2.00 | 1030.9 | 97.0% |" in page
