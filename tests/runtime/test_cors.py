"""Pages of other origins, with SCORING_CORS_ORIGINS or Azure's AML_CORS_ORIGINS, for scripts and all other models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from scoring_runtime.frameworks import Model
from scoring_runtime.settings import read_settings

PAGE = {"Origin": "https://page.example"}
ASKS = {**PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-a"}


@pytest.fixture
def app(make_app: Callable[..., Flask], iris_model: Model, tmp_path: Path) -> Flask:
    (tmp_path / "primary").write_text("the-key")
    origins = "https://page.example, https://other.example"
    return make_app(iris_model, auth="key", keys_dir=tmp_path, cors_origins=origins, path_prefix="/team")


@pytest.mark.parametrize("path", ["/score", "/team/score", "/v2/models/model/infer"])
def test_preflight_needs_no_key(app: Flask, path: str) -> None:
    response = app.test_client().options(path, headers=ASKS)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert response.headers["Access-Control-Allow-Headers"] == "authorization, x-a"
    assert response.headers["Vary"] == "Origin"


def test_answers_and_errors_may_be_read(app: Flask) -> None:
    client = app.test_client()
    for headers in ({}, {"Authorization": "Bearer the-key"}):
        response = client.post("/score", json={"data": [[5.1, 3.5, 1.4, 0.2]]}, headers=PAGE | headers)
        assert response.status_code == (200 if headers else 401)
        assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
        assert "x-request-id" in response.headers["Access-Control-Expose-Headers"]


def test_other_origins(app: Flask) -> None:
    client = app.test_client()
    for headers in (
        {**ASKS, "Origin": "https://evil.example"},
        {**ASKS, "Origin": "https://page.example.evil.example"},
    ):
        response = client.options("/score", headers=headers)
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Access-Control-Allow-Methods" not in response.headers
        assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Origin" not in client.get("/healthz").headers


def test_all_origins(script_app: Callable[..., Flask]) -> None:
    client = script_app("plain_text", cors_origins="*").test_client()
    response = client.options("/score", headers=ASKS)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert client.post("/score", data=b'{"data": []}', headers=PAGE).headers["Access-Control-Allow-Origin"] == "*"


def test_without_origins_nothing_is_said(make_app: Callable[..., Any], iris_model: Model) -> None:
    response = make_app(iris_model).test_client().options("/score", headers=ASKS)
    assert not any(name.startswith("Access-Control") for name, _ in response.headers)


def test_azures_variable() -> None:
    azures = {"AML_CORS_ORIGINS": "https://a.example,https://b.example"}
    assert read_settings(azures).cors_origins == ("https://a.example", "https://b.example")
    assert read_settings({**azures, "SCORING_CORS_ORIGINS": "*"}).cors_origins == ("*",)
    assert read_settings({"AML_CORS_ORIGINS": ""}).cors_origins == ()
