"""PyTorch models: TorchScript and torch.export programs, and every file that is neither.

What a file says of its inputs differs: TorchScript keeps their names, torch.export also dtypes and shapes, and whether
any number of rows will do. Each is checked with names and without, and a program for a fixed number of rows with fewer,
as many and more.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scoring_runtime.errors import InputInvalid, InputRejected, ModelFailed, RequestError, StartupError
from scoring_runtime.tensors import Tensors, TensorSpec
from tests.runtime.answers import loader, score

load = loader("pytorch")

ROWS = np.random.default_rng(0).normal(size=(5, 4))


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layer(rows), dim=1)


class TwoOutputs(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rows.sum(1), rows * 2


class Named(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": left + right, "difference": left - right}


class Shapeless(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.sum()


class Words(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens).sum(1)


class Scaled(torch.nn.Module):
    def forward(self, rows: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        return rows if scale is None else rows * scale


class Overwriting(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.mul_(2)


class Mixed(torch.nn.Module):
    """Takes whole numbers of 32 bits, and floats by keyword only."""

    def forward(self, tokens: torch.Tensor, *, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": tokens.sum(1), "mean": (tokens * weights).mean(1)}


def script(model: torch.nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(model.eval()).save(str(path))


def export(model: torch.nn.Module, path: Path) -> None:
    rows = {0: torch.export.Dim("rows")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), (torch.randn(2, 4),), dynamic_shapes=(rows,)), path)


@pytest.mark.parametrize(("name", "save"), [("model.pt", script), ("model.pth", script), ("net.pt2", export)])
def test_formats(tmp_path: Path, name: str, save: Callable[[torch.nn.Module, Path], None]) -> None:
    network = Network()
    save(network, tmp_path / name)
    with torch.inference_mode():
        expected = network(torch.tensor(ROWS, dtype=torch.float32)).numpy()
    model = load(tmp_path)
    (found,) = score(model, ROWS).arrays
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32
    assert (model.methods, model.warnings) == (("predict",), ())


def test_inputs_take_the_dtype_of_the_weights(tmp_path: Path) -> None:
    script(Network().double(), tmp_path / "model.pt")
    assert score(load(tmp_path), ROWS).arrays[0].dtype == np.float64


def test_half_precision_results_are_widened(tmp_path: Path) -> None:
    script(Network().bfloat16(), tmp_path / "model.pt")
    assert score(load(tmp_path), ROWS).arrays[0].dtype == np.float32


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    script(Words(), tmp_path / "model.pt")
    assert score(load(tmp_path), [[1, 2, 3], [4, 5, 6]]).arrays[0].shape == (2, 2)


def test_several_outputs_and_names(tmp_path: Path) -> None:
    script(TwoOutputs(), tmp_path / "model.pt")
    sums, doubled = score(load(tmp_path), [[1.0, 2.0]]).arrays
    assert (sums.tolist(), doubled.tolist()) == ([3.0], [[2.0, 4.0]])
    script(Named(), tmp_path / "model.pt")
    result = score(load(tmp_path), [1.0], [2.0], names=("left", "right"))
    assert result.names == ("sum", "difference")
    assert [array.tolist() for array in result.arrays] == [[3.0], [-1.0]]


def test_names_tell_the_inputs_apart(tmp_path: Path) -> None:
    script(Named(), tmp_path / "model.pt")
    model = load(tmp_path)
    assert [spec.name for spec in model.signature.inputs] == ["left", "right"]
    result = score(model, [1.0], [2.0], names=("right", "left"))
    assert [array.tolist() for array in result.arrays] == [[3.0], [1.0]]
    with pytest.raises(InputInvalid, match="expects the inputs left, right; missing: left; unexpected: middle"):
        score(model, [1.0], [2.0], names=("right", "middle"))
    with pytest.raises(InputInvalid, match="has the inputs left, right; send each by its name"):
        score(model, [1.0])


def test_arguments_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    script(Scaled(), tmp_path / "model.pt")
    model = load(tmp_path)
    assert [spec.name for spec in model.signature.inputs] == ["rows"]
    assert score(model, [1.0]).arrays[0].tolist() == [1.0]
    assert score(model, [1.0], [3.0], names=("rows", "scale")).arrays[0].tolist() == [3.0]


def test_json_numbers_keep_their_digits_for_weights_of_double_precision(tmp_path: Path) -> None:
    network = Network().double()
    script(network, tmp_path / "model.pt")
    with torch.inference_mode():
        expected = network(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_array_equal(score(load(tmp_path), ROWS).arrays[0], expected)


def test_a_body_is_not_written_to(tmp_path: Path) -> None:
    script(Overwriting(), tmp_path / "model.pt")
    body = np.array([1.0, 2.0], np.float32).tobytes()
    assert score(load(tmp_path), np.frombuffer(body, np.float32)).arrays[0].tolist() == [2.0, 4.0]
    assert np.frombuffer(body, np.float32).tolist() == [1.0, 2.0]


def test_what_an_exported_program_says_of_itself(tmp_path: Path) -> None:
    export(Network(), tmp_path / "model.pt2")
    model = load(tmp_path)
    assert model.platform == "pytorch_export"
    assert model.signature.inputs == (TensorSpec("rows", "float32", (-1, 4)),)
    assert model.signature.outputs == (TensorSpec("output-0", "float32", (-1, 3)),)
    script(Network(), tmp_path / "other.pt")
    scripted = load(tmp_path / "other.pt")
    assert (scripted.platform, scripted.signature.inputs) == ("pytorch_torchscript", (TensorSpec("rows"),))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A program for 3 rows exactly, with inputs of two dtypes, one passed by keyword."""
    path = tmp_path_factory.mktemp("fixed") / "model.pt2"
    example = torch.ones(3, 2, dtype=torch.int32), torch.ones(3, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(Mixed(), example[:1], {"weights": example[1]}), path)
    return load(path)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6, 7])
def test_a_program_for_a_fixed_number_of_rows(fixed: Any, rows: int) -> None:
    tokens = np.arange(rows * 2).reshape(rows, 2)
    weights = np.linspace(0, 1, rows * 2).reshape(rows, 2)
    result = score(fixed, weights, tokens, names=("weights", "tokens"))
    assert result.names == ("sum", "mean")
    np.testing.assert_array_equal(result.arrays[0], tokens.sum(1))
    np.testing.assert_allclose(result.arrays[1], (tokens * weights).mean(1), rtol=1e-6)


@pytest.mark.parametrize("tokens", [[[0.5, 1]], [[1 << 40, 1]], [[float("nan"), 1]]])
def test_values_that_the_dtype_does_not_have(fixed: Any, tokens: Any) -> None:
    with pytest.raises(InputInvalid, match="input tokens is int32, and there is a value"):
        score(fixed, tokens, [[1.0, 2.0]], names=("tokens", "weights"))


def test_gradients_are_not_kept(tmp_path: Path) -> None:
    script(Network(), tmp_path / "model.pt")
    load(tmp_path).predict(Tensors((ROWS.astype(np.float32),)), "predict")
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("name", "save", "error"), [("model.pt", script, InputRejected), ("model.pt2", export, InputInvalid)]
)
def test_the_model_refuses_another_shape(tmp_path: Path, name: str, save: Any, error: type[RequestError]) -> None:
    save(Network(), tmp_path / name)
    with pytest.raises(error) as raised:
        score(load(tmp_path), [[1.0, 2.0]])
    assert "4" in raised.value.message
    assert "\n" not in raised.value.message
    assert ".py" not in raised.value.message


@pytest.mark.parametrize("data", [[["a"]], [[1, None, "b"]]])
def test_text_is_refused_before_the_model_sees_it(tmp_path: Path, data: Any) -> None:
    script(Network(), tmp_path / "model.pt")
    with pytest.raises(InputInvalid, match="takes numbers and booleans"):
        score(load(tmp_path), np.array(data, dtype=object))


def test_a_result_without_rows(tmp_path: Path) -> None:
    script(Shapeless(), tmp_path / "model.pt")
    with pytest.raises(ModelFailed, match=r"shape \(\) for 5 rows; its first axis must be rows"):
        score(load(tmp_path), ROWS)


def not_scripted(what: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(what, path)


@pytest.mark.parametrize(
    ("name", "write", "reason", "said"),
    [
        (
            "model.pt",
            not_scripted(Network().state_dict()),
            "ModelInvalid",
            "is a state_dict: weights without the model",
        ),
        ("model.pth", not_scripted(Network()), "ModelInvalid", "is a pickled model, whose class is not in the file"),
        ("model.pt", not_scripted({"epoch": 3}), "ModelInvalid", "holds a dict from torch.save"),
        ("model.pt", lambda path: path.write_bytes(b"\x00\x01" * 300), "ModelInvalid", "is not a TorchScript file"),
        ("model.pt", lambda path: path.write_bytes(b""), "ModelInvalid", "is empty"),
        ("model.pt2", lambda path: path.write_bytes(b"\x00\x01" * 300), "ModelInvalid", "not a torch.export program"),
        ("model.pt2", not_scripted({"epoch": 3}), "ModelInvalid", "not a torch.export program"),
        ("model.joblib", lambda path: path.write_bytes(b"x"), "ModelNotFound", "no model file (.pt2, .pt or .pth)"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, name: str, write: Any, reason: str, said: str) -> None:
    write(tmp_path / name)
    with pytest.raises(StartupError) as raised:
        load(tmp_path)
    assert (raised.value.reason, said in raised.value.message) == (reason, True), raised.value.message
    assert "\n" not in raised.value.message


def test_a_damaged_model(tmp_path: Path) -> None:
    script(Network(), tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StartupError) as raised:
        load(tmp_path)
    assert raised.value.reason == "ModelInvalid"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path: Path) -> None:
    script(Network(), tmp_path / "model.pt")
    with pytest.raises(StartupError, match="finds no CUDA GPU; ask for one with `gpu: 1`"):
        load(tmp_path, device="cuda")
    assert len(score(load(tmp_path, device="auto"), ROWS)) == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(("name", "save"), [("model.pt", script), ("model.pt2", export)])
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_on_a_gpu(tmp_path: Path, name: str, save: Any, device: str) -> None:
    network = Network()
    save(network, tmp_path / name)
    before = torch.cuda.memory_allocated()
    model = load(tmp_path, device=device)
    assert torch.cuda.memory_allocated() > before
    expected = network(torch.tensor(ROWS, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(score(model, ROWS).arrays[0], expected, rtol=1e-3)


def test_threads_follow_the_cores(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    script(Network(), tmp_path / "model.pt")
    try:
        load(tmp_path, cores=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


class Convolutional(torch.nn.Module):
    """Has what optimizing folds: a convolution, batch normalization with a history, ReLU; any size of images."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)
        torch.nn.init.uniform_(self.norm.running_mean)
        torch.nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.convolution(images))).mean(dim=(2, 3)))


class Counting(Convolutional):
    """Answers otherwise each time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.convolution(images).mean(dim=(2, 3)) * 0 + self.seen


class TwoImages(Convolutional):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.convolution(left - right).mean(dim=(2, 3))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_convolutional_models_are_optimized_and_answer_the_same(tmp_path: Path, rows: int) -> None:
    network = Convolutional().eval()
    script(network, tmp_path / "model.pt")
    model = load(tmp_path)
    assert not list(model._program.module.parameters()), "a frozen module has constants only"
    images = torch.randn(rows, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(images).numpy()
    np.testing.assert_allclose(score(model, images.numpy()).arrays[0], expected, rtol=1e-4, atol=1e-5)


def test_models_that_are_left_as_they_are(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    for network, options in (
        (Convolutional().double(), {}),
        (TwoImages(), {}),
        (Network(), {}),
        (Convolutional(), {"memory_limit_bytes": 60_000}),
    ):
        script(network, tmp_path / "model.pt")
        assert list(load(tmp_path, cores=threads, **options)._program.module.parameters())
    assert torch.get_num_threads() == threads


def test_trying_a_model_leaves_no_trace_in_it(tmp_path: Path) -> None:
    script(Counting(), tmp_path / "model.pt")
    assert score(load(tmp_path), np.ones((2, 3, 8, 8))).arrays[0][0, 0] == 1
