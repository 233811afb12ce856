"""Log lines: one object or one line each, with what they are about."""

import io
import json
import logging

import pytest

from scoring_operator.config import LogFormat, Settings
from scoring_operator.logs import JsonFormatter, TextFormatter, configure


def record(message: str, **extra: object) -> logging.LogRecord:
    found = logging.LogRecord("scoring_operator.x", logging.WARNING, "x.py", 1, message, (), None)
    found.__dict__.update(extra)
    found.created, found.msecs = 1795262400.25, 250.0
    return found


def test_a_json_line_has_everything() -> None:
    line = json.loads(JsonFormatter().format(record("changed\nchildren", service="team/iris", fields=["a", "b"])))
    assert line == {
        "time": "2026-11-21T12:00:00.250Z",
        "level": "warning",
        "logger": "scoring_operator.x",
        "message": "changed\nchildren",
        "service": "team/iris",
        "fields": ["a", "b"],
    }


def test_a_json_line_is_one_line_also_with_a_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        found = record("failed", exc_info=(ValueError, error, error.__traceback__))
    text = JsonFormatter().format(found)
    assert "\n" not in text
    assert "ValueError: broken" in json.loads(text)["exception"]
    assert TextFormatter().format(found).endswith("ValueError: broken")


def test_kopfs_reference_is_shortened_and_its_baggage_left_out() -> None:
    reference = {"kind": "Secret", "namespace": "team", "name": "iris-keys", "uid": "u"}
    line = json.loads(JsonFormatter().format(record("m", k8s_ref=reference, settings=object(), k8s_skip=True)))
    assert line["object"] == "Secret team/iris-keys"
    assert not {"k8s_ref", "settings", "k8s_skip"} & set(line)


def test_a_text_line_is_for_people() -> None:
    assert (
        TextFormatter().format(record("m", service="team/iris"))
        == "2026-11-21T12:00:00.250Z WARNING m service=team/iris"
    )


@pytest.mark.parametrize("log_format", LogFormat)
def test_the_level_and_format_are_as_set(log_format: LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    before = (root.handlers[:], root.level)
    monkeypatch.setattr("sys.stderr", stream)
    try:
        configure(Settings(log_level="WARNING", log_format=log_format))
        logging.getLogger("scoring_operator").info("unheard")
        logging.getLogger("scoring_operator").warning("heard")
    finally:
        root.handlers[:], root.level = before
    assert "unheard" not in stream.getvalue()
    assert stream.getvalue().startswith("{") is (log_format is LogFormat.JSON)


def test_kopf_tells_what_failed_and_not_where_in_kopf(monkeypatch: pytest.MonkeyPatch) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    before = (root.handlers[:], root.level)
    monkeypatch.setattr("sys.stderr", stream)
    try:
        configure(Settings(log_format=LogFormat.TEXT))
        for name in ("kopf._core.reactor", "scoring_operator"):
            try:
                raise ValueError(f"broken {name}")
            except ValueError:
                logging.getLogger(name).exception("it failed")
    finally:
        root.handlers[:], root.level = before
    assert stream.getvalue().count("it failed") == 2
    assert "ValueError: broken scoring_operator" in stream.getvalue()
    assert "ValueError: broken kopf" not in stream.getvalue()
