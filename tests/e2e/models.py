"""Models for the end-to-end tests: trained by the examples, plus broken ones made on purpose."""

import base64
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.e2e.cluster import Kubectl

ROOT = Path(__file__).resolve().parents[2]


def train(example: str, folder: Path, python: str | Path = sys.executable) -> Path:
    """Run an example's training script into `folder`."""
    subprocess.run([str(python), str(ROOT / "examples" / example / "train.py"), str(folder)], check=True)
    return folder


def python_with(framework: str) -> Path:
    """The interpreter of an environment that `make test-frameworks` made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = cache / "scoring-operator" / "frameworks" / framework / "bin" / "python"
    assert python.exists(), "run `make test-frameworks` first, as `make test-all` does"
    return python


def sha256(file: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def not_a_model(folder: Path) -> Path:
    """A web page that somebody saved under a model's name."""
    folder.mkdir(parents=True)
    (folder / "model.joblib").write_text("<!DOCTYPE html><html><body>Please sign in</body></html>")
    return folder


def from_another_version(folder: Path) -> Path:
    """A pickle that names a class of scikit-learn which this version does not have."""
    folder.mkdir(parents=True)
    payload = b"\x80\x04csklearn.linear_model._logistic\nLogisticRegressionOfAnotherVersion\n)\x81."
    (folder / "model.pkl").write_bytes(payload)
    return folder


class NeedsMissingLibrary:
    """Pickles as an instance of a class in a library that no image has."""

    def __reduce__(self) -> tuple[object, ...]:
        """Make the unpickler import the library."""
        import importlib

        return importlib.import_module, ("lightgbm_of_tomorrow",)


def needs_missing_library(folder: Path) -> Path:
    """A pickle whose loading imports a library that the image lacks."""
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(NeedsMissingLibrary()))
    return folder


def hungry(folder: Path, mebibytes: int) -> Path:
    """A small pickle that asks for far more memory than its own size while it is loaded."""
    folder.mkdir(parents=True)
    # The pickle calls bytearray(n), which writes n zero bytes: memory that is really used.
    payload = b"\x80\x04cbuiltins\nbytearray\nJ" + (mebibytes << 20).to_bytes(4, "little") + b"\x85R."
    (folder / "model.pkl").write_bytes(payload)
    return folder


class BySource:
    """Pickles as an instance of a class that its source makes where it is loaded: byte code is of one Python only."""

    def __init__(self, source: str, name: str) -> None:
        self.source, self.name = source, name

    def __reduce__(self) -> tuple[object, ...]:
        """Make the unpickler run the source."""
        return eval, ("[exec(source, made := {}), made[name]()][1]", {"source": self.source, "name": self.name})


UNSTEADY = """
import os
import time

from sklearn.base import BaseEstimator, ClassifierMixin


class Unsteady(ClassifierMixin, BaseEstimator):
    def __init__(self):
        self.calls_ = 0

    def predict(self, rows):
        time.sleep(float(os.environ.get("ANSWER_AFTER_SECONDS", "0")))
        self.calls_ += 1
        every = int(os.environ.get("FAIL_AT_EVERY", "0"))
        if every and self.calls_ % every == 0:
            raise RuntimeError("as the test wants it")
        return [42] * len(rows)
"""


def unsteady(folder: Path) -> Path:
    """A model that is as slow, and fails at as many calls, as the environment of its pod says; answers 42 for a row."""
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(BySource(UNSTEADY, "Unsteady")))
    return folder


def slow(folder: Path) -> Path:
    """A model that sleeps for as many seconds as the numbers of a row say, and answers 0."""
    import time

    import joblib
    import numpy as np
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    sleep = FunctionTransformer(np.vectorize(time.sleep, otypes=[object])).fit([[0.0]])
    pipeline = make_pipeline(sleep, DummyClassifier(strategy="constant", constant=0).fit([[0.0]], [0]))
    folder.mkdir(parents=True)
    joblib.dump(pipeline, folder / "model.joblib")
    return folder


def exported(folder: Path) -> Path:
    """A small network saved by torch.export, for any number of rows."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1)).eval()
    rows = torch.export.Dim("rows", min=1, max=1024)
    program = torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes=({0: rows},))
    folder.mkdir(parents=True)
    torch.export.save(program, folder / "model.pt2")
    return folder


def boosted(library: str, folder: Path) -> Path:
    """Trees on the iris data, in the own format of xgboost or lightgbm."""
    from sklearn.datasets import load_iris

    features, species = load_iris(return_X_y=True)
    folder.mkdir(parents=True)
    if library == "xgboost":
        import xgboost

        params = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2}
        xgboost.train(params, xgboost.DMatrix(features, species), 5).save_model(folder / "model.ubj")
    else:
        import lightgbm

        params = {"objective": "multiclass", "num_class": 3, "verbose": -1}
        lightgbm.train(params, lightgbm.Dataset(features, species), 5).save_model(folder / "model.txt")
    return folder


def script_with_schema(model: Path, folder: Path) -> Path:
    """An entry script that says what it takes, beside a copy of the model whose probabilities it answers."""
    folder.mkdir(parents=True)
    shutil.copy(model / "model.joblib", folder)
    (folder / "score.py").write_text(
        """
import os
import joblib, numpy
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema

def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))

@input_schema("rows", NumpyParameterType(numpy.array([[5.1, 3.5, 1.4, 0.2]])))
def run(rows):
    return model.predict_proba(rows).tolist()
"""
    )
    return folder


def saved_by_mlflow(pipeline: object, folder: Path) -> Path:
    """A scikit-learn pipeline for four numbers, as MLflow saves it, with a signature and an example."""
    script = """
import sys, pickle
import mlflow.sklearn, numpy
from mlflow.models import infer_signature
pipeline, rows = pickle.load(sys.stdin.buffer), numpy.array([[5.1, 3.5, 1.4, 0.2]])
signature = infer_signature(rows, pipeline.predict(rows))
mlflow.sklearn.save_model(pipeline, sys.argv[1], signature=signature, input_example=rows, pip_requirements=[])
"""
    command = [sys.executable, "-c", script, str(folder)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(command, input=pickle.dumps(pipeline), env=environment, check=True)
    return folder


def text_classifier(folder: Path, texts: list[str]) -> tuple[Path, list[list[dict]]]:
    """A small random BERT in transformers' form, and for each text its own pipeline's classes, the likeliest first."""
    script = """
import json, sys
import torch, transformers
from tokenizers import Tokenizer, models, pre_tokenizers
texts = json.loads(sys.argv[2])
words = ["[PAD]", "[UNK]", *sorted({word for text in texts for word in text.split()})]
tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
torch.manual_seed(0)
config = transformers.BertConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=32, initializer_range=0.5, id2label={0: "bad", 1: "good"},
)
transformers.BertForSequenceClassification(config).save_pretrained(sys.argv[1])
fast.save_pretrained(sys.argv[1])
pipeline = transformers.pipeline("text-classification", model=sys.argv[1], device="cpu")
print(json.dumps(pipeline(texts, top_k=None)))
"""
    command = [sys.executable, "-c", script, str(folder), json.dumps(texts)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return folder, json.loads(done.stdout.splitlines()[-1])


def tar(folder: Path) -> bytes:
    """The folder as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.add(file, arcname=str(file.relative_to(folder)), recursive=False)
    return buffer.getvalue()


STORE = ["-n", "object-store", "exec", "-i", "deploy/object-store", "--", "python"]


def upload(kubectl: Kubectl, folder: Path, uri: str) -> None:
    """Put a folder into the object store of the cluster."""
    kubectl(*STORE, "/opt/put.py", uri, input=tar(folder))


READ = """
import base64, boto3, json, sys
store = boto3.client("s3", endpoint_url="http://127.0.0.1:9000", region_name="us-east-1",
                     aws_access_key_id="any", aws_secret_access_key="any")
found = {}
for page in store.get_paginator("list_objects_v2").paginate(Bucket=sys.argv[1], Prefix=sys.argv[2]):
    for entry in page.get("Contents", []):
        content = store.get_object(Bucket=sys.argv[1], Key=entry["Key"])["Body"].read()
        found[entry["Key"]] = base64.b64encode(content).decode()
print(json.dumps(found))
"""


def stored(kubectl: Kubectl, bucket: str, prefix: str) -> dict[str, bytes]:
    """What the object store of the cluster has below a prefix, by its keys."""
    found = json.loads(kubectl(*STORE, "-c", READ, bucket, prefix).stdout)
    return {key: base64.b64decode(content) for key, content in found.items()}
