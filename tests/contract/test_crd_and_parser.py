"""The CRD and the operator's parser say the same.

the CRD                                       the parser
properties, types, bounds, enums, required    the same fields with the same bounds in spec/wire.py
rules (CEL) and their messages                the same sentences at the same fields in spec/rules/
defaults                                      the same values in spec/objects.py
fields of versions                            those of the service, without defaults
status                                        holds everything that the operator writes
every field                                   has a description
"""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator
from pydantic import BaseModel

from scoring_operator.conditions import Cause, Facts, VersionFacts
from scoring_operator.errors import Reason
from scoring_operator.rollout import Phase, Record, State, Summary, Why
from scoring_operator.spec import API_VERSION, GROUP, KIND, PLURAL, Batching, RequestSettings, merge, wire
from scoring_operator.spec.rules import NOT_YET, RULES, USERS_VARIABLES
from scoring_operator.status import Decisions, build_status, with_conditions
from scoring_operator.traffic import Live, plan_traffic
from tests.operator.services import MODEL, NOW, BuilderSettingsOf, raw_service, service

Schema = dict[str, Any]

CRD = yaml.safe_load((Path(__file__).resolve().parents[2] / "crds" / "scoring.dev_scoringservices.yaml").read_text())
(VERSION,) = CRD["spec"]["versions"]
ROOT: Schema = VERSION["schema"]["openAPIV3Schema"]
SPEC: Schema = ROOT["properties"]["spec"]
ITEM: Schema = SPEC["properties"]["versions"]["items"]
CONSTRAINTS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "enum")


def test_names() -> None:
    names = CRD["spec"]["names"]
    assert (CRD["spec"]["group"], names["kind"], names["plural"]) == (GROUP, KIND, PLURAL)
    assert (names["shortNames"], names["categories"]) == (["ss"], ["all"])
    assert f"{GROUP}/{VERSION['name']}" == API_VERSION
    assert set(VERSION["subresources"]) == {"status", "scale"}


def test_columns() -> None:
    columns = [(column["name"].upper(), column.get("priority", 0)) for column in VERSION["additionalPrinterColumns"]]
    assert [name for name, priority in columns if not priority] == ["READY", "URL", "TRAFFIC", "REPLICAS", "AGE"]
    assert [name for name, priority in columns if priority] == ["LOAD", "FRAMEWORK", "MODEL", "MESSAGE"]
    status = ROOT["properties"]["status"]["properties"]
    for column in VERSION["additionalPrinterColumns"]:
        field = re.match(r"\.status\.(\w+)", column["jsonPath"])
        assert field is None or field[1] in status


def nodes(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every schema below and including this one, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def test_every_field_is_described() -> None:
    described = [(path, node.get("description", "")) for path, node in nodes(ROOT, "") if path not in {"", ".metadata"}]
    assert len(described) > 200
    assert [path for path, text in described if not re.fullmatch(r"[A-Z`{t0].*[.]", text, re.DOTALL)] == []


def test_descriptions_say_the_default() -> None:
    for path, node in nodes(SPEC, "spec"):
        if "default" in node and node["type"] != "object":
            assert f"Default: {node['default']}" in node["description"], path


def wire_schema(model: type[BaseModel]) -> Schema:
    """The JSON schema of a wire type, in the CRD's terms: no references, no nulls."""
    whole = model.model_json_schema(by_alias=True)
    definitions = whole.pop("$defs", {})

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(definitions[node["$ref"].rpartition("/")[2]])
        if "anyOf" in node:
            (only,) = [option for option in node["anyOf"] if option != {"type": "null"}]
            return plain(only)
        return {key: plain(value) for key, value in node.items()}

    flat: Schema = plain(whole)
    return flat


def compare(crd: Schema, parser: Schema, path: str) -> Iterator[str]:
    """Where the two differ."""
    parser = {{"minProperties": "minItems"}.get(key, key): value for key, value in parser.items()}
    for key in CONSTRAINTS:
        if crd.get(key) != parser.get(key):
            yield f"{path}: {key} is {crd.get(key)} in the CRD and {parser.get(key)} in the parser"
    if not crd.get("x-kubernetes-int-or-string") and crd.get("type") != parser.get("type"):
        yield f"{path}: type {crd.get('type')} and {parser.get('type')}"
    if sorted(crd.get("required", [])) != sorted(parser.get("required", [])):
        yield f"{path}: required {crd.get('required')} and {parser.get('required')}"
    mine, its = crd.get("properties", {}), parser.get("properties", {})
    if mine.keys() != its.keys():
        yield f"{path}: only one of the two has {sorted(mine.keys() ^ its.keys())}"
    for name in mine.keys() & its.keys():
        yield from compare(mine[name], its[name], f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(crd.get(inner), dict) and not crd[inner].get("x-kubernetes-preserve-unknown-fields"):
            yield from compare(crd[inner], parser.get(inner, {}), f"{path}[]")


def test_the_same_fields_with_the_same_bounds() -> None:
    assert list(compare(SPEC, wire_schema(wire.Spec), "spec")) == []


def rules_of_the_crd() -> set[tuple[str, str]]:
    found = set()
    for path, node in nodes(ROOT, ""):
        for rule in node.get("x-kubernetes-validations", []):
            found.add((path.removeprefix("."), rule["message"]))
    return found


WIRE_PATHS: dict[type[wire.Wire], tuple[str, ...]] = {
    wire.Metadata: ("",),
    wire.Spec: ("spec",),
    wire.VersionFields: ("spec", "spec.versions[]"),
    wire.Version: ("spec.versions[]",),
    wire.Model: ("spec.model", "spec.versions[].model"),
    wire.DataCollection: ("spec.dataCollection", "spec.versions[].dataCollection"),
    wire.Resources: ("spec.resources", "spec.versions[].resources"),
    wire.Autoscaling: ("spec.autoscaling", "spec.versions[].autoscaling"),
    wire.Ingress: ("spec.ingress",),
    wire.Tls: ("spec.ingress.tls",),
    wire.ValueFrom: ("spec.pod.env[].valueFrom", "spec.versions[].pod.env[].valueFrom"),
    wire.Env: ("spec.pod.env[]", "spec.versions[].pod.env[]"),
    wire.Pod: ("spec.pod", "spec.versions[].pod"),
    wire.Sticky: ("spec.sticky",),
    wire.Gateway: ("spec.gateway",),
    wire.AuthSettings: ("spec.auth",),
    wire.Token: ("spec.auth.token",),
    wire.Rollout: ("spec.rollout",),
}
BY_LIST_TYPE = "each version needs a name of its own: rename one of those that are called the same"
"""The API server knows this one by x-kubernetes-list-map-keys."""


def test_backslashes_stand_in_raw_strings() -> None:
    """CEL reads an escape in any other literal, and refuses those it does not know; only an API server would say so."""
    for path, node in nodes(SPEC, "spec"):
        for rule in node.get("x-kubernetes-validations", []):
            for start, literal in re.findall(r"(\br)?('[^']*')", rule["rule"]):
                assert start or "\\" not in literal, (path, rule["rule"])


def rules_of_the_parser() -> set[tuple[str, str]]:
    found = set()
    for table in (RULES, NOT_YET):
        for kind, rules in table.items():
            for rule in rules:
                for path in WIRE_PATHS[kind]:
                    found.add((f"{path}.{rule.at}" if rule.at else path, rule.sentence))
    return found


def test_the_same_rules_in_the_same_words_at_the_same_fields() -> None:
    mine, its = rules_of_the_crd(), rules_of_the_parser()
    assert sorted(its - mine) == [("spec.versions", BY_LIST_TYPE)]
    assert sorted(mine - its) == []
    assert SPEC["properties"]["versions"]["x-kubernetes-list-map-keys"] == ["name"]


def test_the_same_variables_are_left_to_users() -> None:
    """Their names stand in a CEL rule, whose sentence names only the page that lists them."""
    lists = {
        tuple(re.findall(r"'(SCORING_[A-Z_]+)'", rule["rule"]))
        for _, node in nodes(SPEC, "spec")
        for rule in node.get("x-kubernetes-validations", [])
        if "SCORING_" in rule["message"]
    }
    assert lists == {USERS_VARIABLES}


def test_defaults_are_the_parsers_own() -> None:
    defaults = {path: node["default"] for path, node in nodes(SPEC, "spec") if "default" in node}
    found = merge.merged_versions(wire.Spec.model_validate({"model": MODEL}))[0]
    for part, value in (("requestSettings", RequestSettings()), ("batching", Batching())):
        for field in fields(value):
            assert defaults.pop(f"spec.{part}.{wire.to_camel(field.name)}") == getattr(value, field.name)
        assert defaults.pop(f"spec.{part}") == {}
    assert defaults.pop("spec.gpu") == found.gpu
    assert defaults.pop("spec.ingress.path") == "/"
    assert defaults.pop("spec.auth") == {}
    assert defaults.pop("spec.auth.type") == "Key"
    assert defaults == {}


def without_defaults(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_defaults(value) for key, value in node.items() if key != "default"}
    return [without_defaults(item) for item in node] if isinstance(node, list) else node


@pytest.mark.parametrize("name", ["model", *(info.alias for info in wire.VersionFields.model_fields.values())])
def test_a_version_may_say_what_the_service_says(name: str) -> None:
    """A default under versions would hide what the service says."""
    whole, part = dict(SPEC["properties"][name]), dict(ITEM["properties"][name])
    if name == "model":
        del whole["description"], part["description"]
    assert part == without_defaults(whole)


def test_versions_have_nothing_else() -> None:
    own = {"name", "model", "default", "control", "traffic", "mirror"}
    assert set(ITEM["properties"]) == own | {info.alias for info in wire.VersionFields.model_fields.values()}


MEASURED = Summary(120, 3, 41)
RECORD = Record(
    "v1",
    State(
        Phase.ROLLED_BACK,
        "v1",
        "v2",
        "hash",
        "hash",
        since=NOW,
        started=NOW,
        why=Why.ASKED,
        candidate=MEASURED,
        baseline=MEASURED,
    ),
)


def closed(node: Any) -> Any:
    """The schema with every object closed, as the API server drops what it does not know."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: closed(value) for key, value in node.items()}
    return {**inner, "additionalProperties": False} if "properties" in inner else inner


def test_the_status_keeps_everything_that_the_operator_writes() -> None:
    """What the schema lacks is dropped, and the operator would write it again for ever."""
    control = {"name": "v1", "model": MODEL, "control": True}
    of = service(versions=[control, {"name": "v2", "model": MODEL, "mirror": 5}])
    cause = Cause(Reason.UNSCHEDULABLE, "0/3 nodes have nvidia.com/gpu")
    version = VersionFacts("v1", wanted=2, replicas=3, ready=1, complete=False, failure=cause, in_place=True)
    facts = Facts(versions=(version,))
    decided = Decisions({"v1": "registry.example.com/scoring:1"}, plan_traffic(of.versions, Live()), record=RECORD)
    status = build_status(of, facts, decided, BuilderSettingsOf())
    whole = with_conditions(status, facts, raw_service(), NOW)
    assert {condition["type"] for condition in whole["conditions"]} >= {
        "Ready",
        "Reconciling",
        "Stalled",
        "IngressReady",
    }
    validator = Draft4Validator(closed(ROOT["properties"]["status"]))
    assert [error.message for error in validator.iter_errors(whole)] == []
    assert [error.message for error in validator.iter_errors({**whole, "unknown": 1})] != []
