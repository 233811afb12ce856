#!/usr/bin/env bash
# The main job on real input, step by step: train a model, store it, apply one ScoringService, score over HTTPS.
# Every command it runs is printed first. Run it by `make demo`, which brings up the cluster and builds the images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
setting() { "$python" -m devcluster env --json | "$python" -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
image() { "$python" -c "import json; print(json.load(open('.out/images.json'))$1)"; }
say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

KUBECONFIG=$(setting kubeconfig)
export KUBECONFIG
PATH="$(setting bin):$PATH"
ingress=$(setting ingress_address)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "Install the operator with its Helm chart"
"$python" - > "$work/values.json" <<'PY'
import json

images = json.load(open(".out/images.json"))
repository, tag = images["operator"].rsplit(":", 1)
print(json.dumps({"image": {"repository": repository, "tag": tag}, "runtimeImages": images["runtime"]}))
PY
show helm upgrade --install scoring-operator charts/scoring-operator --namespace scoring-system --create-namespace \
  --values "$work/values.json" --wait --timeout 3m > "$work/helm.log" || { cat "$work/helm.log"; exit 1; }

say "Train a model and put it where models live: an object store"
sed "s#OBJECT_STORE_IMAGE#$(image "['object-store']")#" examples/object-store/object-store.yaml | kubectl apply -f - > /dev/null
kubectl -n object-store rollout status deployment/object-store --timeout 3m > /dev/null
show "$python" examples/iris/train.py "$work/iris"
tar -C "$work/iris" -c . | kubectl -n object-store exec -i deploy/object-store -- python /opt/put.py s3://models/iris/1/

say "What a data scientist writes"
show cat examples/iris/scoringservice.yaml

say "And all there is to do"
kubectl create namespace demo --dry-run=client -o yaml | kubectl apply -f - > /dev/null
kubectl -n demo create secret generic model-store --dry-run=client -o yaml \
  --from-literal=AWS_ACCESS_KEY_ID=demo --from-literal=AWS_SECRET_ACCESS_KEY=demo --from-literal=AWS_REGION=us-east-1 \
  --from-literal=AWS_ENDPOINT_URL=http://object-store.object-store.svc:9000 | kubectl apply -f - > /dev/null
show kubectl -n demo apply -f examples/iris/scoringservice.yaml
show kubectl -n demo wait --for=condition=Ready scoringservice/iris --timeout=3m

say "Score over HTTPS: the certificate is verified, the key is required"
kubectl -n demo get secret iris-tls -o jsonpath='{.data.ca\.crt}' | base64 -d > "$work/ca.crt"
kubectl -n demo get secret iris-keys -o jsonpath='{.data.primary}' | base64 -d > "$work/key"
to_ingress=(--silent --show-error --max-time 20 --noproxy '*'
  --connect-to "iris.example.com:443:$ingress:443" --connect-to "iris.example.com:80:$ingress:80")
request='{"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}'
score=(curl "${to_ingress[@]}" --cacert "$work/ca.crt" https://iris.example.com/score
  --header 'Content-Type: application/json' --data "$request")

status() { "$@" --output /dev/null --write-out '%{http_code}'; }
# The ingress controller may need a moment to learn of the route: until then it answers 404 itself.
answer=$("${score[@]}" --fail --retry 20 --retry-delay 1 --retry-all-errors --header "Authorization: Bearer $(cat "$work/key")")
redirect=$(curl "${to_ingress[@]}" --output /dev/null --write-out '%{http_code} %{redirect_url}' http://iris.example.com/score)
without_key=$(status "${score[@]}")

echo "http://iris.example.com/score               -> $redirect"
echo "https://iris.example.com/score without key  -> $without_key"
echo "https://iris.example.com/score with the key -> $answer"
[[ $redirect =~ ^30[1278]\ https:// ]] || { echo "HTTP was not redirected to HTTPS" >&2; exit 1; }
[[ $without_key == 401 ]] || { echo "a request without a key was not refused with 401" >&2; exit 1; }

say "What kubectl shows"
show kubectl -n demo get scoringservices
cat <<END

Go on by hand:
  export KUBECONFIG=$KUBECONFIG
  kubectl -n demo get scoringservices -o wide
  kubectl explain scoringservice.spec
  make cluster-down
END
