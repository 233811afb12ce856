"""Train a softmax regression on the iris data with TensorFlow and save it as a SavedModel with a sample request.

    python examples/tensorflow/train.py OUT_DIR

writes OUT_DIR/saved_model.pb, its weights beside it, and OUT_DIR/sample-request.json. The default signature answers a
probability for each species, the signature `likeliest` the number of the likeliest. Needs tensorflow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_iris

MEASURES = tf.TensorSpec((None, 4), tf.float32, name="measures")


class Iris(tf.Module):
    """Four measures of a flower to three probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.zeros((4, 3)))
        self.bias = tf.Variable(tf.zeros(3))

    @tf.function(input_signature=[MEASURES])
    def probabilities(self, measures: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return a probability for each species."""
        return {"probabilities": tf.nn.softmax(measures @ self.weights + self.bias)}

    @tf.function(input_signature=[MEASURES])
    def likeliest(self, measures: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the number of the likeliest species."""
        return {"species": tf.argmax(self.probabilities(measures)["probabilities"], axis=1)}

    def fit(self, features: tf.Tensor, species: tf.Tensor) -> None:
        """Descend along the gradient of the cross-entropy."""
        for _ in range(400):
            with tf.GradientTape() as tape:
                logits = features @ self.weights + self.bias
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(species, logits))
            variables = [self.weights, self.bias]
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
                variable.assign_sub(0.2 * gradient)


def train(folder: Path) -> None:
    """Write the model and its sample request to `folder`."""
    features, species = load_iris(return_X_y=True)
    model = Iris()
    model.fit(tf.constant(features, tf.float32), tf.constant(species))
    signatures = {"serving_default": model.probabilities, "likeliest": model.likeliest}
    tf.saved_model.save(
        model, str(folder), signatures={name: made.get_concrete_function() for name, made in signatures.items()}
    )
    (folder / "sample-request.json").write_text(json.dumps({"data": features[[0, 75, 149]].tolist()}) + "\n")


def main() -> None:
    """Read the folder from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/tensorflow/train.py OUT_DIR")
    train(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
