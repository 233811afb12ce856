"""TorchScript models that compute in another precision than they were saved in (SCORING_PRECISION).

The weights become half as long, inputs follow them, answers are float32. What cannot be converted is refused when it is
loaded; what goes wrong only when the model computes is found by the sample request, before the pod is ready.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from scoring_runtime.errors import InputRejected, StartupError
from tests.runtime.test_pytorch import ROWS, Network, Words, export, load, score, script


def test_weights_of_another_precision(tmp_path: Path) -> None:
    network = Network()
    script(network, tmp_path / "model.pt")
    model = load(tmp_path, precision="bfloat16")
    found = score(model, ROWS).arrays[0]
    with torch.inference_mode():
        expected = network.bfloat16()(torch.tensor(ROWS, dtype=torch.bfloat16)).float().numpy()
    np.testing.assert_array_equal(found, expected)
    script(Network().double(), tmp_path / "model.pt")
    assert score(load(tmp_path, precision="float32"), ROWS).arrays[0].dtype == np.float64, "the default: as saved"
    # Whole numbers are not weights.
    script(Words(), tmp_path / "model.pt")
    assert score(load(tmp_path, precision="bfloat16"), [[1, 2, 3]]).arrays[0].shape == (1, 2)


def test_what_cannot_have_another_precision(tmp_path: Path) -> None:
    def refused(name: str, precision: str = "bfloat16") -> str:
        with pytest.raises(StartupError) as raised:
            load(tmp_path / name, precision=precision)
        return raised.value.message

    script(Network(), tmp_path / "model.pt")
    if not torch.cuda.is_available():
        assert "SCORING_PRECISION=float16 needs a GPU" in refused("model.pt", "float16")
    export(Network(), tmp_path / "model.pt2")
    assert "computes in what it was exported in; export model.to(torch.bfloat16)" in refused("model.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(Network().eval())).save(str(tmp_path / "frozen.pt"))
    assert "frozen.pt has no weights that could become torch.bfloat16: freezing makes" in refused("frozen.pt")


def test_a_constant_that_does_not_go_with_the_precision_is_the_requests_fault(tmp_path: Path) -> None:
    """It is found by the sample request, before the pod is ready."""

    class Constant(Network):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.layer(rows + torch.ones(4, dtype=torch.float32))

    script(Constant(), tmp_path / "model.pt")
    model = load(tmp_path, precision="bfloat16")
    with pytest.raises(InputRejected, match="dtype"):
        score(model, ROWS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_on_a_gpu(tmp_path: Path, precision: str) -> None:
    network = Network()
    script(network, tmp_path / "model.pt")
    expected = network(torch.tensor(ROWS, dtype=torch.float32)).detach().numpy()
    found = score(load(tmp_path, device="cuda", precision=precision), ROWS).arrays[0]
    np.testing.assert_allclose(found, expected, atol=0.02)
