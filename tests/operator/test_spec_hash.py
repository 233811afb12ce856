"""The hash of a version: the same as long as its user changed nothing that its pods are made of.

edit                                                      hash
a default written down, another spelling of a quantity    same
replicas, name, traffic, service-level fields             same
anything of the model, resources, gpu, image, pod, ...    another
the same written at the service or at the version         same
"""

from typing import Any

import pytest

from scoring_operator.spec import merge, wire
from tests.operator.services import MODEL, service


def hash_of(**spec: Any) -> str:
    return service(**spec).default_version.spec_hash


PLAIN = hash_of()


@pytest.mark.parametrize(
    "spec",
    [
        {
            "requestSettings": {
                "timeoutSeconds": 60,
                "maxConcurrent": 8,
                "maxQueueWaitMilliseconds": 500,
                "maxBodyBytes": 10485760,
            }
        },
        {"batching": {"maxSize": 32, "maxDelayMilliseconds": 0}},
        {"gpu": 0},
        {"requestSettings": {}, "batching": {}, "pod": {"labels": {}, "env": []}, "resources": {"limits": {}}},
        {"replicas": 5},
        {"auth": {"type": "None"}},
        {"ingress": {"host": "iris.example.com", "path": "/faq"}},
        {"networkPolicy": {"enabled": True}},
        {"versions": [{"name": "other", "model": MODEL, "default": True, "replicas": 2}]},
    ],
    ids=str,
)
def test_unchanged(spec: dict[str, Any]) -> None:
    assert hash_of(**spec) == PLAIN


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {**MODEL, "uri": "s3://models/iris/2/"}},
        {"model": {**MODEL, "framework": "pytorch"}},
        {"model": {**MODEL, "sha256": "ab" * 32}},
        {"model": {**MODEL, "credentials": {"secretName": "store"}}},
        {"gpu": 1},
        {"image": "registry.example.com/own:1"},
        {"resources": {"requests": {"cpu": 1}}},
        {"resources": {"limits": {"cpu": 1}}},
        {"requestSettings": {"timeoutSeconds": 61}},
        {"batching": {"maxDelayMilliseconds": 1}},
        {"pod": {"labels": {"a": "b"}}},
        {"pod": {"env": [{"name": "A", "value": ""}]}},
        {"pod": {"tolerations": [{"operator": "Exists"}]}},
    ],
    ids=str,
)
def test_changed(spec: dict[str, Any]) -> None:
    assert hash_of(**spec) != PLAIN


def test_spellings_of_the_same() -> None:
    one = hash_of(model={**MODEL, "sha256": "AB" * 32}, resources={"requests": {"cpu": "1000m", "memory": "1Gi"}})
    other = hash_of(model={**MODEL, "sha256": "ab" * 32}, resources={"requests": {"memory": "1024Mi", "cpu": 1}})
    assert one == other


def test_where_it_is_written_makes_no_difference() -> None:
    high = {"gpu": 1, "pod": {"labels": {"a": "b"}}, "versions": [{"name": "v1", "model": MODEL}]}
    low = {"versions": [{"name": "v1", "model": MODEL, "gpu": 1, "pod": {"labels": {"a": "b"}}}]}
    hashes = {merge.merged_versions(wire.Spec.model_validate(spec))[0].spec_hash for spec in (high, low)}
    assert len(hashes) == 1


def test_defaults_of_data_collection_written_down() -> None:
    uri = {"uri": "s3://logs/faq/"}
    assert hash_of(dataCollection={**uri, "samplingPercent": 100}) == hash_of(dataCollection=uri) != PLAIN
    assert hash_of(dataCollection={**uri, "samplingPercent": 10}) != hash_of(dataCollection=uri)
    assert hash_of(dataCollection={**uri, "format": "jsonl"}) == hash_of(dataCollection=uri)
    assert hash_of(dataCollection={**uri, "format": "parquet"}) != hash_of(dataCollection=uri)
