import os

import score_rules  # beside this file

NAMES = ("AZUREML_MODEL_DIR", "AZUREML_ENTRY_SCRIPT", "AML_APP_ROOT", "SCORING_TIMEOUT_MS", "WORKER_COUNT")
at_import = {name: os.environ.get(name) for name in NAMES}


def init():
    print("init was called")


def run(data):
    print(f"scoring {data}")
    return {"environment": at_import, "doubled": score_rules.doubled(data)}
