import json
import os
import sys

import joblib
import pandas as pd

sys.path.append(os.path.join(os.environ["AZUREML_MODEL_DIR"], "src"))

from text_pairs import overlap


def init():
    global pipeline, questions
    folder = os.environ["AZUREML_MODEL_DIR"]
    pipeline = joblib.load(os.path.join(folder, "model.pkl"))
    questions = pd.read_csv(os.path.join(folder, "questions.tsv"), sep="\t")


def run(body):
    """Rank the known questions by the probability that they ask what was asked."""
    asked = json.loads(body)["input"]
    pairs = questions.assign(asked=asked)
    pairs["overlap"] = [overlap(asked, known) for known in pairs["question"]]
    probabilities = pipeline.predict_proba(pairs[["asked", "question", "overlap"]])[:, 1]
    ranked = questions.assign(probability=probabilities).sort_values("probability", ascending=False, kind="stable")
    return [list(row) for row in zip(ranked["id"], ranked["answer_id"], ranked["probability"], strict=True)]
