import json
import threading

sizes = []
go_on = threading.Event()


def init():
    pass


def run(data):
    raise AssertionError("run_batch is called instead")


def run_batch(items):
    sizes.append(len(items))
    if items == ["wait"]:
        go_on.wait(200)
    if "bad" in items:
        raise ValueError("the payload")
    if "few" in items:
        return []
    return [sizes if item == "sizes?" else json.loads(f'"{item}"').upper() for item in items]
