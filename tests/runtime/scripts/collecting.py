import json

import pandas as pd
from azureml.ai.monitoring import Collector
from azureml.ai.monitoring.context import BasicCorrelationContext


def init():
    global inputs, outputs
    inputs = Collector(name="model_inputs")
    outputs = Collector(name="model_outputs", on_error=lambda error: errors.append(str(error)))


errors = []


def run(data):
    context = inputs.collect(pd.DataFrame(json.loads(data)), BasicCorrelationContext(id="mine"))
    outputs.collect(["no", "table"], context)
    return {"id": context.get_id(), "errors": errors}
