"""Hugging Face models: what they take and answer, and every folder that is none. The models are small and random.

- texts: one, several, pairs, bytes, too long, of other lengths in one batch, without a token to fill up with;
- answers: the likeliest, probabilities, logits; several labels at once, one label, regression;
- images: files in, the same as transformers' own pipeline;
- folders: pickled weights, no tokenizer, other architectures, code of their own, weights that are missing or damaged.
"""

import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import pictures
from tests.runtime.answers import infer, loader, refused

os.environ.setdefault("HF_HUB_OFFLINE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

from scoring_runtime.errors import InputInvalid, InputRejected
from scoring_runtime.frameworks.accelerate import compiling
from scoring_runtime.tensors import Records, Tensors

load = loader("huggingface")

WORDS = ["good", "bad", "film", "the", "a", "was", "is", "not", "very", "great", "awful", "plot"]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
RANDOM = np.random.default_rng(0)
TEXTS = [" ".join(RANDOM.choice(WORDS, RANDOM.integers(1, 20))) for _ in range(1000)]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are only slowed down by a second thread, most of all where other tests run beside them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def save_tokenizer(folder: Path, **changes: Any) -> None:
    vocabulary = {word: number for number, word in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    settings = {**SPECIAL, "model_max_length": 32, **changes}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)


def save_text(folder: Path, labels: int = 3, **changes: Any) -> Path:
    torch.manual_seed(0)
    names = ["negative", "neutral", "positive"][:labels]
    config = transformers.BertConfig(
        vocab_size=4 + len(WORDS),
        max_position_embeddings=32,
        initializer_range=0.5,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        **SMALL,
        **changes,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_images(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=4, initializer_range=0.5, **SMALL)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def score(model: Any, *texts: Any, names: Any = None, method: str = "predict") -> Tensors:
    arrays = tuple(np.array(column, dtype=object) for column in texts)
    result: Tensors = model.predict(model.prepare(Tensors(arrays, names), method), method)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder)


@pytest.fixture(scope="module")
def own(folder: Path) -> Callable[..., Any]:
    """transformers' own pipeline: for each text the labels with their scores, the likeliest first."""
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    return lambda texts: pipeline(texts, top_k=None, batch_size=50)


def test_what_a_model_says_of_itself(model: Any) -> None:
    assert (model.platform, model.warnings) == ("transformers_pytorch", ())
    assert model.methods == ("predict", "predict_proba", "logits")
    assert [(spec.name, spec.dtype, spec.shape) for spec in model.signature.inputs] == [("text", "object", (-1,))]
    assert [(spec.name, spec.shape) for spec in model.signature.outputs] == [
        ("label", (-1, 3)),
        ("probability", (-1, 3)),
    ]


def test_the_answers_are_transformers_own(make_app: Any, model: Any, own: Any) -> None:
    app = make_app(model, framework="huggingface", batch_max_size=256)
    expected = own(TEXTS)
    found = infer(app, {"text": np.array(TEXTS, dtype=object)})
    wanted = np.array([[one["score"] for one in row] for row in expected])
    np.testing.assert_allclose(found["probability"], wanted, atol=1e-5)
    assert [row[0] for row in found["label"].tolist()] == [row[0]["label"] for row in expected]
    answer = app.test_client().post("/score", json={"data": TEXTS}).get_json()
    assert [row[0]["label"] for row in answer] == [row[0]["label"] for row in expected]
    np.testing.assert_allclose([row[0]["probability"] for row in answer], wanted[:, 0], atol=1e-5)


def test_texts_of_other_lengths_do_not_change_each_other(model: Any) -> None:
    together = score(model, ["good", "not a very good film", "the plot"], method="logits").arrays[0]
    for row, text in enumerate(["good", "not a very good film", "the plot"]):
        np.testing.assert_allclose(together[row], score(model, [text], method="logits").arrays[0][0], atol=1e-5)


def test_forms_of_texts(model: Any) -> None:
    expected = score(model, ["good film"], method="predict_proba").arrays[0]
    for given in ([[b"good film"]], [b"good film"], [["good film"]]):
        np.testing.assert_array_equal(score(model, given, method="predict_proba").arrays[0], expected)
    with pytest.raises(InputInvalid, match="input text takes text, and there are bytes that are not UTF-8"):
        score(model, [b"\xff"])
    with pytest.raises(InputInvalid, match="input text takes text; there is a number or null"):
        score(model, [None])
    with pytest.raises(InputInvalid, match="the text in row 1 has 42 tokens, and the model takes 32"):
        score(model, ["good", "good " * 40])


def test_pairs(model: Any, folder: Path) -> None:
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    expected = pipeline([{"text": "good film", "text_pair": "bad plot"}], top_k=None)[0]
    (found,) = score(model, ["good film"], ["bad plot"], names=("text", "text_pair")).records()  # type: ignore[attr-defined]
    assert [one["label"] for one in found] == [one["label"] for one in expected]
    np.testing.assert_allclose([one["probability"] for one in found], [one["score"] for one in expected], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "methods"),
    [
        ({"problem_type": "multi_label_classification"}, ("predict", "predict_proba", "logits")),
        ({"labels": 1}, ("predict", "predict_proba", "logits")),
        ({"problem_type": "regression"}, ("predict",)),
        ({"task_specific_params": {"text-classification": {"top_k": 2}}}, ("predict", "predict_proba", "logits")),
    ],
)
def test_kinds_of_answers(tmp_path: Path, changes: dict[str, Any], methods: tuple[str, ...]) -> None:
    model = load(save_text(tmp_path, **changes))
    assert model.methods == methods
    expected = transformers.pipeline("text-classification", model=str(tmp_path), device="cpu")(TEXTS[0], top_k=None)
    result = score(model, TEXTS[:1])
    if methods == ("predict",):
        assert sorted(result.arrays[0][0]) == pytest.approx(sorted(one["score"] for one in expected), abs=1e-5)
    else:
        assert isinstance(result, Records)
        (found,) = result.records()
        assert len(found) == (2 if "task_specific_params" in changes else changes.get("labels", 3))
        for one, other in zip(found, expected[: len(found)], strict=True):
            assert (one["label"], one["probability"]) == (other["label"], pytest.approx(other["score"], abs=1e-5))


def test_no_token_to_fill_up_with(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=16, n_embd=16, n_layer=1, n_head=2, n_positions=32, num_labels=2)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pad_token=None)
    model = load(tmp_path)
    together = score(model, ["good film", "bad"], method="logits").arrays[0]
    for row, text in enumerate(["good film", "bad"]):
        np.testing.assert_allclose(together[row], score(model, [text], method="logits").arrays[0][0], atol=1e-5)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_images(tmp_path_factory.mktemp("images"))


def test_images(make_app: Any, images: Path) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(images, use_fast=False, backend="pil")
    network = transformers.AutoModelForImageClassification.from_pretrained(images).eval()
    opened = [Image.open(io.BytesIO(file)).convert("RGB") for file in pictures.FILES]
    with torch.inference_mode():
        logits = network(**processor(opened, return_tensors="pt")).logits.numpy()
    app = make_app(load(images), framework="huggingface")
    pictures.check_answers(app, logits, [f"LABEL_{at}" for at in range(4)])


def change(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def damage(folder: Path, what: str) -> None:
    weights = folder / "model.safetensors"
    if what == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif what == "no weights":
        weights.unlink()
    elif what == "damaged weights":
        weights.write_bytes(weights.read_bytes()[:100])
    elif what == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif what == "no classifier":
        from safetensors.torch import load_file, save_file

        kept = {name: tensor for name, tensor in load_file(weights).items() if not name.startswith("classifier")}
        save_file(kept, weights, {"format": "pt"})
    else:
        (folder / "config.json").write_text(what)


@pytest.mark.parametrize(
    ("what", "reason", "said"),
    [
        (
            "pickle",
            "ModelInvalid",
            "the weights are in pytorch_model.bin, and only .safetensors is read",
        ),
        ("pickle", "ModelInvalid", "BertForSequenceClassification.from_pretrained(folder).save_pretrained(folder)"),
        ("no weights", "ModelNotFound", "there is no .safetensors in"),
        ("damaged weights", "ModelInvalid", "the model cannot be loaded by transformers"),
        ("no tokenizer", "ModelNotFound", "there is no tokenizer.json in"),
        ("no classifier", "ModelInvalid", "the weights lack 2 of the tensors of BertForSequenceClassification"),
        ("{", "ModelInvalid", "config.json cannot be read"),
        ("[]", "ModelInvalid", "config.json must be a JSON object"),
        ("{}", "ModelInvalid", "the architecture in config.json is not named, so it is not served"),
    ],
)
def test_damaged_folders(tmp_path: Path, folder: Path, what: str, reason: str, said: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    damage(tmp_path / "m", what)
    found, message = refused(load, tmp_path / "m")
    assert (found, said in message) == (reason, True), message


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "ModelInvalid", "the architecture BertForMaskedLM is not served"),
        (
            {"model_type": "bert-of-tomorrow", "transformers_version": "99.0"},
            "ModelIncompatible",
            "does not know the model type bert-of-tomorrow, which transformers 99.0 wrote",
        ),
        ({"hidden_size": 32}, "ModelInvalid", "the model cannot be loaded by transformers"),
        ({"task_specific_params": {"text-classification": {"top_k": 0}}}, "ModelInvalid", "top_k in config.json is 0"),
    ],
)
def test_other_configurations(tmp_path: Path, folder: Path, fields: Any, reason: str, said: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    change(tmp_path / "m", **fields)
    found, message = refused(load, tmp_path / "m")
    assert (found, said in message) == (reason, True), message


def test_code_beside_the_model_is_never_run(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "modeling_own.py").write_text("raise SystemExit('run')")
    (tmp_path / "m" / "configuration_own.py").write_text("raise SystemExit('run')")
    code = {"AutoConfig": "configuration_own.Own", "AutoModelForSequenceClassification": "modeling_own.Own"}
    change(tmp_path / "m", model_type="own", auto_map=code)
    reason, message = refused(load, tmp_path / "m")
    assert (reason, "which is never run; export it to ONNX" in message) == ("ModelInvalid", True), message
    change(tmp_path / "m", model_type="bert", auto_map=code)
    assert load(tmp_path / "m").methods, "where transformers has the architecture, its own is taken"


def test_images_without_preprocessing(tmp_path: Path, images: Path) -> None:
    shutil.copytree(images, tmp_path / "m")
    (tmp_path / "m" / "preprocessor_config.json").unlink()
    assert "there is no preprocessor_config.json beside the model" in refused(load, tmp_path / "m")[1]


def test_folders(tmp_path: Path, folder: Path) -> None:
    assert load(folder / "config.json").methods
    assert refused(load, tmp_path)[0] == refused(load, tmp_path / "nowhere")[0] == "ModelNotFound"
    assert refused(load, folder, memory_limit_bytes=100)[0] == "ModelTooLarge"


def test_weights_in_other_forms_beside_it_take_no_memory(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(bytes(10_000_000))
    assert load(tmp_path / "m", memory_limit_bytes=5_000_000).methods


def test_half_precision(folder: Path, model: Any) -> None:
    assert "SCORING_PRECISION=float16 needs a GPU" in refused(load, folder, precision="float16")[1]
    found = score(load(folder, precision="bfloat16"), TEXTS[:50], method="predict_proba").arrays[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, score(model, TEXTS[:50], method="predict_proba").arrays[0], atol=0.1)


def test_compiled(folder: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # What torch.compile finds is run as it is: the compiler itself is tried in tests/runtime/test_compile.py.
    monkeypatch.setattr(compiling, "_BACKEND", "eager")
    monkeypatch.setattr(compiling, "times_faster", lambda *calls: 2.0)
    monkeypatch.setenv("CXX", sys.executable)
    try:
        fast = load(folder, accelerate="compile")
        assert fast.parameters["accelerate"] == "compile", fast.parameters
        for texts in (TEXTS[:1], TEXTS[:50]):
            found, own = (score(one, texts, method="predict_proba").arrays[0] for one in (fast, model))
            np.testing.assert_allclose(found, own, atol=1e-5)
    finally:
        torch.compiler.set_stance("default")
        torch.compiler.reset()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_on_a_gpu(folder: Path, model: Any, precision: str) -> None:
    found = score(load(folder, device="cuda", precision=precision), TEXTS[:50], method="predict_proba").arrays[0]
    np.testing.assert_allclose(found, score(model, TEXTS[:50], method="predict_proba").arrays[0], atol=0.1)


def test_tokens_that_the_model_does_not_have(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["awful"] = 500
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputRejected, match="the model refused the input: index out of range"):
        score(load(tmp_path / "m"), ["awful"])
