from azureml.core.model import Model


def init():
    global path
    path = Model.get_model_path("churn")


def run(data):
    return path
