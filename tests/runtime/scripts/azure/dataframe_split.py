import os
from io import StringIO

import joblib
import pandas as pd


def init():
    global model
    model = joblib.load(os.path.join(os.getenv("AZUREML_MODEL_DIR"), "churn.joblib"))


def run(raw_data):
    df = pd.read_json(StringIO(raw_data), orient="split")
    df["probability"] = model.predict_proba(df)[:, 1]
    df["churn"] = df["probability"] > 0.5
    return df[["customer", "churn", "probability"]].to_dict(orient="records")
