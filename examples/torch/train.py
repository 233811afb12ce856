"""Train a small neural network on the iris data and save it as TorchScript with a sample request.

    python examples/torch/train.py OUT_DIR

writes OUT_DIR/model.pt and OUT_DIR/sample-request.json and prints the model's sha256. The network takes the four
measurements in centimetres and answers the probability of each of the three species.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from pathlib import Path

import torch
from sklearn.datasets import load_iris

STEPS = 500
LEARNING_RATE = 0.5


def fit(features: torch.Tensor, species: torch.Tensor) -> torch.nn.Module:
    """Return the trained network, which standardises its input itself."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        Standardise(features.mean(0), features.std(0)),
        torch.nn.Linear(4, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 3),
    )
    weights = list(network.parameters())
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(network(features), species)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data -= LEARNING_RATE * gradient
    return torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()


class Standardise(torch.nn.Module):
    """Subtracts the mean and divides by the standard deviation of each feature."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features with mean 0 and deviation 1."""
        return (features - self.mean) / self.deviation


def train(folder: Path) -> str:
    """Write the model and its sample request to `folder`; return the model's sha256."""
    measurements, labels = load_iris(return_X_y=True)
    features = torch.tensor(measurements, dtype=torch.float32)
    network = fit(features, torch.tensor(labels))
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.pt"
    with warnings.catch_warnings():
        # PyTorch would rather see torch.export; TorchScript is still the form that most people have.
        warnings.simplefilter("ignore")
        torch.jit.trace(network, features[:2]).save(str(model))
    sample = {"data": measurements[[0, 75, 149]].tolist()}
    (folder / "sample-request.json").write_text(json.dumps(sample) + "\n")
    return hashlib.sha256(model.read_bytes()).hexdigest()


def main() -> None:
    """Read the folder from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/torch/train.py OUT_DIR")
    sys.stdout.write(train(Path(sys.argv[1])) + "\n")


if __name__ == "__main__":
    main()
