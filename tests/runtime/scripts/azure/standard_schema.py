import os

import joblib
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

LABELS = {0: "question", 1: "complaint"}


def init():
    global vectorizer, classifier
    folder = os.environ["AZUREML_MODEL_DIR"]
    vectorizer = joblib.load(os.path.join(folder, "vectorizer.pkl"))
    classifier = joblib.load(os.path.join(folder, "classifier.pkl"))


@input_schema("texts", StandardPythonParameterType(["where is my parcel?", "this is a disgrace"]))
@input_schema("threshold", StandardPythonParameterType(0.5))
@output_schema(StandardPythonParameterType([{"label": "question", "score": 0.9}]))
def run(texts, threshold):
    scores = classifier.predict_proba(vectorizer.transform(texts))[:, 1]
    return [{"label": LABELS[int(score >= threshold)], "score": score} for score in scores]
