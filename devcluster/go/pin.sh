#!/usr/bin/env bash
# Writes kubernetes/go.mod and go.sum anew for a Kubernetes release, and metrics-server/ with them:
# bash devcluster/go/pin.sh v1.36.3 v0.9.0 (the versions of Kubernetes and of the metrics server)
# (For the programs beside it: cd devcluster/go/programs; go get -tool helm.sh/helm/v4/cmd/helm@VERSION;
# go get MODULE@VERSION; go mod tidy.)
#
# The staging modules k8s.io/* of a release are published as v0.MINOR.PATCH; Kubernetes' own go.mod replaces them by
# folders, which only works inside its repository, so here each of them is replaced by its published version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/kubernetes"
version=$1 metrics_server=$2
staging=v0.${version#v1.}

upstream=$(cd "${TMPDIR:-/tmp}" && GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@$version" |
  sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
{
  echo "module devcluster.invalid/kubernetes"
  grep -E '^(go|godebug) ' "$upstream"
  echo "tool ("
  for program in kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do
    echo "k8s.io/kubernetes/cmd/$program"
  done
  echo "go.etcd.io/etcd/server/v3"
  echo ")"
  echo "require k8s.io/kubernetes $version"
  echo "replace ("
  sed -n '/^replace (/,/^)/s/^\t\(k8s.io\/[^ ]*\) => .*/\1/p' "$upstream" | while read -r module; do
    echo "$module => $module $staging"
  done
  echo ")"
} > go.mod
rm -f go.sum
GOFLAGS=-mod=mod go list tool > /dev/null
go mod edit -fmt

# The metrics server is built from the same versions of everything that both use, so that it is not compiled twice.
cd ../metrics-server
{
  echo "module devcluster.invalid/metrics-server"
  grep -E '^(go|godebug) ' ../kubernetes/go.mod
  echo "tool sigs.k8s.io/metrics-server/cmd/metrics-server"
  echo "require sigs.k8s.io/metrics-server $metrics_server"
  echo "replace ("
  sed -n -E 's/^\t(k8s.io\/[^ ]+ => .*)$/\1/p' ../kubernetes/go.mod
  sed -n -E 's/^\t([^ ]+) (v[^ ]+)( \/\/ indirect)?$/\1 => \1 \2/p' ../kubernetes/go.mod
  echo ")"
} | awk '!/=>/ || !seen[$1]++' > go.mod
rm -f go.sum
GOFLAGS=-mod=mod go list tool > /dev/null
go mod edit -fmt
echo "wrote kubernetes/ and metrics-server/: set KUBERNETES and METRICS_SERVER in devcluster/versions.py to the same"
