"""Triton by PyTriton: its Python backend behind the C++ front end, dynamic batching without delay."""

import json
import logging
from typing import Any

import model
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

TEXT_COLUMNS = ("question", "details")


def _numbers(predict: model.Predict) -> Any:
    @batch
    def infer(rows: Any) -> list[Any]:
        return [np.asarray(predict(rows), dtype=np.int64).reshape(-1, 1)]

    return infer, [Tensor(name="rows", dtype=np.float64, shape=(-1,))], Tensor(dtype=np.int64, shape=(1,))


def _texts(predict: model.Predict) -> Any:
    @batch
    def infer(**columns: Any) -> list[Any]:
        texts = {name: [cell.decode() for cell in cells[:, 0]] for name, cells in columns.items()}
        rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
        return [np.asarray(predict(rows), dtype=np.int64).reshape(-1, 1)]

    inputs = [Tensor(name=name, dtype=bytes, shape=(1,)) for name in TEXT_COLUMNS]
    return infer, inputs, Tensor(dtype=np.int64, shape=(1,))


def _images(decode: model.Decode, predict: model.Predict) -> Any:
    @batch
    def infer(image: Any) -> list[Any]:
        found = predict([decode(encoded) for encoded in image[:, 0]])
        return [np.array([json.dumps(top).encode() for top in found], dtype=object).reshape(-1, 1)]

    return infer, [Tensor(name="image", dtype=bytes, shape=(1,))], Tensor(dtype=bytes, shape=(1,))


def main() -> None:
    """Serve."""
    logging.basicConfig(level=logging.WARNING)
    decode, predict = model.load()
    kinds = {"numbers": lambda: _numbers(predict), "texts": lambda: _texts(predict)}
    infer, inputs, output = kinds.get(model.KIND, lambda: _images(decode, predict))()
    settings = TritonConfig(
        http_port=model.PORT, http_address="127.0.0.1", allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=settings) as triton:
        triton.bind(
            model_name=model.NAME,
            infer_func=infer,
            inputs=inputs,
            outputs=[output],
            config=ModelConfig(max_batch_size=model.MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
