#!/usr/bin/env bash
# Compiles the lock files: names, versions and hashes, no index address. Extra arguments go to `uv pip compile`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
  .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --no-header --quiet "$@"
}

compile pyproject.toml --extra dev -o requirements/dev.txt "$@"
compile pyproject.toml --extra operator -c requirements/dev.txt -o requirements/operator.txt
for framework in sklearn xgboost xgboost-gpu lightgbm pytorch onnx tensorflow keras mlflow huggingface script; do
  compile pyproject.toml --extra runtime --extra "$framework" -c requirements/dev.txt -o "requirements/runtime-$framework.txt"
done
# The environments of `make test-frameworks`.
compile pyproject.toml --extra runtime --extra tensorflow --extra keras --extra framework-tests \
  -c requirements/dev.txt -o requirements/test-tensorflow.txt "$@"
echo 'moto[server]' | compile - -c requirements/dev.txt -o requirements/object-store.txt
