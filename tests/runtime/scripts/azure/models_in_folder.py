import json
import os
from pathlib import Path

import joblib

# Each registered model is in AZUREML_MODEL_DIR/NAME/VERSION/.
models = {}


def init():
    root = Path(os.getenv("AZUREML_MODEL_DIR"))
    for file in sorted(root.glob("*/*/*.pkl")):
        name, version = file.relative_to(root).parts[:2]
        models[f"{name}:{version}"] = joblib.load(file)


def run(raw_data):
    request = json.loads(raw_data)
    which = request.get("model")
    if which not in models:
        return {"error": f"no model {which}", "models": sorted(models)}
    return {"model": which, "result": models[which].predict(request["data"])}
