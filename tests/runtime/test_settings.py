"""The environment becomes one frozen object.

case                                     expected
nothing set                              the documented defaults
every variable set                       its value, typed
an unknown SCORING_ variable             refused by name, also when it is nearly right
what Kubernetes adds for its Services    ignored
an empty value                           as if not set
a bad value                              one line with the variable, the value and what is allowed
"""

from pathlib import Path

import pytest
from pydantic import ValidationError

from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.settings import Settings, read_settings, variable

EVERYTHING = {
    "SCORING_FRAMEWORK": ("pytorch", "pytorch"),
    "SCORING_MODEL_PATH": ("/models/a", Path("/models/a")),
    "SCORING_MODEL_NAME": ("faq", "faq"),
    "SCORING_MODEL_VERSION": ("v2", "v2"),
    "SCORING_HOST": ("0.0.0.0", "0.0.0.0"),
    "SCORING_PORT": ("9000", 9000),
    "SCORING_PATH_PREFIX": ("/team/faq/", "/team/faq"),
    "SCORING_ACCELERATE": ("onnx", "onnx"),
    "SCORING_ROOT": ("kserve", "kserve"),
    "SCORING_AUTH": ("none", "none"),
    "SCORING_KEYS_DIR": ("/keys", Path("/keys")),
    "SCORING_TOKEN_ISSUER": ("https://i.example", "https://i.example"),
    "SCORING_TOKEN_AUDIENCE": ("iris.default, other", ("iris.default", "other")),
    "SCORING_TOKEN_JWKS": ("/etc/scoring/jwks/jwks.json", "/etc/scoring/jwks/jwks.json"),
    "SCORING_TOKEN_SUBJECTS": ("system:serviceaccount:a:b", ("system:serviceaccount:a:b",)),
    "SCORING_TOKEN_LEEWAY_SECONDS": ("0", 0),
    "SCORING_METRICS_AUTH": ("required", "required"),
    "SCORING_DOCS_AUTH": ("none", "none"),
    "SCORING_UI": ("off", "off"),
    "SCORING_METRICS_PORT": ("8082", 8082),
    "SCORING_GRPC_PORT": ("9090", 9090),
    "SCORING_PROCESSES": ("4", 4),
    "SCORING_TIMEOUT_SECONDS": ("1.5", 1.5),
    "SCORING_BODY_TIMEOUT_SECONDS": ("5", 5.0),
    "SCORING_MAX_CONCURRENT": ("3", 3),
    "SCORING_MAX_QUEUE_WAIT_MILLISECONDS": ("250", 250),
    "SCORING_MAX_BODY_BYTES": ("1000", 1000),
    "SCORING_BATCH_MAX_SIZE": ("64", 64),
    "SCORING_BATCH_MAX_DELAY_MILLISECONDS": ("5", 5),
    "SCORING_DEVICE": ("cuda", "cuda"),
    "SCORING_PRECISION": ("float16", "float16"),
    "SCORING_TRUSTED_TYPES": ("a.B, c.D,", ("a.B", "c.D")),
    "SCORING_ENTRY_SCRIPT": ("src/score.py", "src/score.py"),
    "SCORING_CORS_ORIGINS": ("https://a.example, *", ("https://a.example", "*")),
    "SCORING_DATA_COLLECTION_URI": ("s3://logs/faq/", "s3://logs/faq/"),
    "SCORING_DATA_COLLECTION_FORMAT": ("parquet", "parquet"),
    "SCORING_DATA_COLLECTION_SAMPLING_PERCENT": ("0", 0),
    "SCORING_DATA_COLLECTION_CREDENTIALS_DIR": ("/etc/scoring/collection", Path("/etc/scoring/collection")),
    "SCORING_DRAIN_SECONDS": ("0", 0),
    "SCORING_LOG_LEVEL": ("WARNING", "warning"),
    "SCORING_TERMINATION_LOG": ("/dev/termination-log", Path("/dev/termination-log")),
    "SCORING_MODEL_URI": ("s3://models/iris/", "s3://models/iris/"),
    "SCORING_MODEL_SHA256": ("sha256:" + "AB" * 32, "ab" * 32),
    "SCORING_PVC_ROOT": ("/claim", Path("/claim")),
}


def test_every_variable_is_read() -> None:
    assert {variable(field) for field in Settings.model_fields} == set(EVERYTHING)
    settings = read_settings({name: text for name, (text, _) in EVERYTHING.items()})
    for name, (_, expected) in EVERYTHING.items():
        assert getattr(settings, name.removeprefix("SCORING_").lower()) == expected, name
    assert settings.max_queue_wait_seconds == 0.25
    assert settings.batch_max_delay_seconds == 0.005


def test_other_variables_and_empty_values_do_not_count() -> None:
    assert read_settings({"PATH": "/bin", "SCORING_PATH_PREFIX": "", "SCORING_MODEL_SHA256": ""}) == Settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["SCORING_MAX_CONCURENT", "SCORING_", "SCORING_BATCH", "SCORING_PORTS"])
def test_an_unknown_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"unknown setting {name}; known are SCORING_ACCELERATE, SCORING_AUTH, "):
        read_settings({name: "1"})


@pytest.mark.parametrize(
    "name",
    [
        "SCORING_X_SERVICE_HOST",
        "SCORING_X_SERVICE_PORT",
        "SCORING_X_SERVICE_PORT_HTTP",
        "SCORING_X_PORT",
        "SCORING_X_PORT_80_TCP",
        "SCORING_X_PORT_80_TCP_ADDR",
        "SCORING_OPERATOR_INGRESS_DOMAIN",
    ],
)
def test_what_kubernetes_and_the_operator_add_is_ignored(name: str) -> None:
    assert read_settings({name: "tcp://10.0.0.1:80"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SCORING_PORT", "http", "SCORING_PORT='http': input should be a valid integer"),
        ("SCORING_PORT", "70000", "SCORING_PORT='70000': input should be less than or equal to 65535"),
        ("SCORING_AUTH", "basic", "SCORING_AUTH='basic': input should be 'key', 'token' or 'none'"),
        ("SCORING_MAX_CONCURRENT", "0", "greater than or equal to 1"),
        ("SCORING_TIMEOUT_SECONDS", "0", "greater than 0"),
        ("SCORING_TIMEOUT_SECONDS", "nan", "SCORING_TIMEOUT_SECONDS='nan'"),
        ("SCORING_PATH_PREFIX", "faq", "write it like /faq"),
        ("SCORING_MODEL_SHA256", "abc", "64 hexadecimal digits"),
        ("SCORING_DATA_COLLECTION_FORMAT", "csv", "FORMAT='csv': input should be 'jsonl' or 'parquet'"),
        ("SCORING_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_bad_value_is_one_line_that_says_what_is_allowed(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read_settings({name: value})
    assert said in raised.value.message
    assert "\n" not in raised.value.message


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(SettingsInvalid, match=r"SCORING_PORT=.*; SCORING_AUTH="):
        read_settings({"SCORING_PORT": "x", "SCORING_AUTH": "y"})
