"""The CRD's schema as a check that needs no API server.

An API server prunes or refuses unknown fields and checks types, enumerations and limits. The same is done here from
the CRD itself, so that the check cannot fall behind it. The CRD's CEL rules are not evaluated: the operator's parser
checks the same things (a contract test holds the two together), and validation.py calls it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError

FieldPath = tuple[str | int, ...]
_CRD_FILE = "scoring.dev_scoringservices.yaml"
_METADATA = {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}, "required": ["name"]}
_INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


@dataclass(frozen=True)
class SchemaProblem:
    """One place where an object does not fit the CRD's schema."""

    path: FieldPath
    message: str


@cache
def load_crd() -> Mapping[str, Any]:
    """Return the CustomResourceDefinition: the one in the installed package, or the one in the source tree."""
    packaged = resources.files("scoring_cli") / _CRD_FILE
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:
        text = (Path(__file__).parents[2] / "crds" / _CRD_FILE).read_text(encoding="utf-8")
    crd: Mapping[str, Any] = yaml.safe_load(text)
    return crd


def find_schema_problems(raw: Mapping[str, Any]) -> list[SchemaProblem]:
    """Return every place where `raw`, a ScoringService, does not fit the schema of its apiVersion."""
    validator = _validator(str(raw.get("apiVersion")).partition("/")[2])
    if validator is None:
        served = ", ".join(f"{load_crd()['spec']['group']}/{name}" for name in _versions())
        return [SchemaProblem(("apiVersion",), f"{raw.get('apiVersion')!r} is not served: use {served}")]
    found = {problem for error in validator.iter_errors(raw) for problem in _problems(error)}
    return sorted(found, key=lambda problem: [str(part) for part in problem.path])


def _versions() -> dict[str, Mapping[str, Any]]:
    """Return the served versions' schemas by name."""
    versions = load_crd()["spec"]["versions"]
    return {each["name"]: each["schema"]["openAPIV3Schema"] for each in versions if each["served"]}


@cache
def _validator(version: str) -> Draft4Validator | None:
    schema = _versions().get(version)
    if schema is None:
        return None
    strict = _strict(schema)
    strict["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    return Draft4Validator(strict)


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a structural schema to JSON Schema that refuses what the API server's strict field check refuses."""
    out = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "default"}
    if schema.get("x-kubernetes-int-or-string"):
        out = {key: value for key, value in out.items() if key not in ("type", "anyOf")} | _INT_OR_STRING
    if "properties" in schema:
        out["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        out.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
    elif isinstance(schema.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = _strict(schema["items"])
    return {"anyOf": [{"type": "null"}, out]} if out.pop("nullable", False) else out


def _problems(error: ValidationError) -> Iterator[SchemaProblem]:
    """Say in the field's own words what the validator found; an unknown field is reported where it stands."""
    path: FieldPath = tuple(error.absolute_path)
    wanted: Any = error.validator_value
    value: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(value, Mapping):
        known = list(_schema_of(error).get("properties", {}))
        for name in sorted(set(value) - set(known), key=str):
            yield SchemaProblem((*path, name), _unknown(str(name), known))
    elif error.validator == "required":
        missing = [name for name in wanted if name not in value]
        yield from (SchemaProblem((*path, name), "is required") for name in missing)
    else:
        yield SchemaProblem(path, _sentence(error))


def _schema_of(error: ValidationError) -> Mapping[str, Any]:
    """Return the object schema that the error's instance was checked against."""
    return error.schema if isinstance(error.schema, Mapping) else {}


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f": did you mean `{close[0]}`?" if close else f"; the fields here are {', '.join(sorted(known))}"
    return f"is not a field{hint}"


def _sentence(error: ValidationError) -> str:
    """Return what is wrong with a value, as `must …`, with the value."""
    wanted: Any = error.validator_value
    value = error.instance
    sentences = {
        "type": f"must be of type {wanted}",
        "enum": f"must be one of {', '.join(str(each) for each in wanted)}" if error.validator == "enum" else "",
        "minimum": f"must be at least {wanted}",
        "maximum": f"must be at most {wanted}",
        "minLength": "must not be empty" if wanted == 1 else f"must have at least {wanted} characters",
        "maxLength": f"must have at most {wanted} characters",
        "minItems": f"must have at least {wanted} items",
        "maxItems": f"must have at most {wanted} items",
        "pattern": f"must match {wanted}",
        "anyOf": "must be an integer or a string" if wanted == _INT_OR_STRING["anyOf"] else "",
    }
    sentence = sentences.get(str(error.validator)) or error.message
    return f"{sentence}, not {value!r}" if error.validator in sentences else sentence
