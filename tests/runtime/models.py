"""Models that need no library, for the tests of what is around a model."""

import threading

from scoring_runtime.tensors import Signature, Tensors
from tests.waiting import PATIENCE


class Echo:
    """Gives back what it gets, under the names that it got."""

    methods: tuple[str, ...] = ("predict",)
    warnings: tuple[str, ...] = ()
    signature = Signature()
    platform = "test"

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        return inputs

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        return inputs


class Held(Echo):
    """Says that it has entered, and gives back what it gets once it may go on; zeros at once."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        self.entered.release()
        assert not inputs.arrays[0].any() or self.go_on.wait(PATIENCE)
        return inputs
