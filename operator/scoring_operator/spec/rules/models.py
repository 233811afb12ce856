"""What the address and the loading of a model have to keep, and the folder for collected data."""

import re

from scoring_operator.frameworks import ACCELERATED_FRAMEWORKS, FRAMEWORKS
from scoring_operator.spec import patterns, wire
from scoring_operator.spec.addresses import ADDRESS, FOLDER, FORMS, Form, climbs, names_user
from scoring_operator.spec.objects import SCRIPT
from scoring_operator.spec.rules.rule import Rule, Table, matches


def _form_rule(form: Form) -> Rule:
    return Rule(form.sentence, lambda model: form.fits(model.uri), "uri")


def _can_be_converted(part: wire.Spec | wire.Version) -> bool:
    return part.accelerate != "onnx" or part.model is None or part.model.framework in ACCELERATED_FRAMEWORKS["onnx"]


def _can_be_compiled(part: wire.Spec | wire.Version) -> bool:
    ours = ACCELERATED_FRAMEWORKS["compile"]
    return part.accelerate != "compile" or part.model is None or part.model.framework in ours


ACCELERATED = (
    Rule(
        "accelerate: onnx goes with framework sklearn, xgboost or lightgbm: remove it, or write accelerate: none",
        _can_be_converted,
    ),
    Rule(
        "accelerate: compile goes with framework pytorch or huggingface: remove it, or write accelerate: none",
        _can_be_compiled,
    ),
)
"""Of a service and of a version."""

MODELS: Table = {
    wire.Model: (
        Rule(
            "framework must be sklearn, xgboost, lightgbm, pytorch, onnx, tensorflow, keras, mlflow, huggingface or "
            "script",
            lambda model: model.framework in FRAMEWORKS,
            "framework",
        ),
        Rule(
            "uri must be s3://BUCKET/FOLDER/, gs://BUCKET/FOLDER/, az://CONTAINER/FOLDER/, hf://OWNER/REPOSITORY, "
            "models:/NAME/VERSION, oci://REGISTRY/REPOSITORY:TAG, https://HOST/FILE, pvc://CLAIM/FOLDER or "
            "file:///FOLDER, such as s3://models/iris/1/",
            matches("uri", ADDRESS),
            "uri",
        ),
        *(_form_rule(form) for form in FORMS),
        Rule("uri must not climb with '..': write the path without it", lambda model: not climbs(model.uri), "uri"),
        Rule(
            "uri must not hold a user name or password: put them into a Secret and name it in credentials.secretName",
            lambda model: not names_user(model.uri),
            "uri",
        ),
        Rule(
            "sha256 must be 64 hexadecimal digits, as sha256sum prints them",
            matches("sha256", patterns.SHA256),
            "sha256",
        ),
        Rule(
            "entryScript goes with framework: script: remove it, or write framework: script",
            lambda model: model.entry_script is None or model.framework == SCRIPT,
        ),
        Rule(
            "entryScript must be the path of a .py file inside the model's folder, without '..' and without a slash in "
            "front: write score.py",
            matches("entry_script", patterns.ENTRY_SCRIPT),
            "entryScript",
        ),
    ),
    wire.DataCollection: (
        Rule(
            "uri must be the address of a folder without user, query and fragment: write s3://BUCKET/FOLDER/",
            matches("uri", FOLDER),
            "uri",
        ),
        Rule(
            "nothing can be written to http: and https: addresses: write s3://BUCKET/FOLDER/",
            lambda collection: re.match(r"https?:", collection.uri) is None,
            "uri",
        ),
    ),
}
