#!/usr/bin/env bash
# Installs the Debian packages that a part of the project needs: `python` (the virtual environment), `cluster`,
# `emulators` (the servers of the slow tests), `browser` (the slow tests of the page) or `bench` (the model server
# beside its peers).
# What is there is left alone; the package lists are fetched only when something is missing; without root it says what
# to install and exits 1.
set -euo pipefail

missing() {
  case $1 in
    python)
      # One program or file of each package stands for it, so that other distributions and pyenv pass too.
      "${PYTHON:-python3}" -c 'import venv, ensurepip' 2> /dev/null || echo python3-venv
      command -v curl > /dev/null || echo curl
      command -v git > /dev/null || echo git
      # LightGBM's package brings no OpenMP of its own.
      compgen -G '/usr/lib*/*/libgomp.so.1' > /dev/null || compgen -G '/usr/lib*/libgomp.so.1' > /dev/null || echo libgomp1
      ;;
    cluster)
      [[ -e /usr/lib/cni/bridge ]] || echo containernetworking-plugins
      [[ -e /usr/share/debootstrap/functions ]] || echo debootstrap
      [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
      local pair
      for pair in runc:runc buildah:buildah nft:nftables ip:iproute2 mount:mount cc:gcc; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" > /dev/null || echo "${pair##*:}"
      done
      [[ -e /usr/lib/x86_64-linux-gnu/libc.a || -e /usr/lib/aarch64-linux-gnu/libc.a ]] || echo libc6-dev
      ;;
    emulators)
      command -v node > /dev/null || echo nodejs
      command -v npm > /dev/null || echo npm
      ;;
    browser)
      local name
      for name in chromium chromium-browser google-chrome; do command -v "$name" > /dev/null && return; done
      echo chromium
      ;;
    bench)
      command -v wrk > /dev/null || echo wrk
      command -v taskset > /dev/null || echo util-linux
      # Triton's Python backend is linked against the distribution's own Python.
      [[ -x /usr/bin/python3 ]] || echo python3
      compgen -G '/usr/lib/*/libpython3*.so.1.0' > /dev/null || echo libpython3-dev
      ;;
    *)
      echo "usage: $0 python|cluster|emulators|browser|bench" >&2
      exit 2
      ;;
  esac
}

packages=$(missing "$1" | sort -u | tr '\n' ' ')
[[ -z ${packages// /} ]] && exit 0
if [[ $(id -u) != 0 ]] || ! command -v apt-get > /dev/null; then
  echo "These packages are missing: $packages" >&2
  echo "Install them, for example with: sudo apt-get install --no-install-recommends $packages" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
install() {
  # shellcheck disable=SC2086  # the list is words on purpose
  apt-get install --yes --quiet --no-install-recommends -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 $packages > "$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "==> installing Debian packages: $packages"
if ! install; then
  for attempt in 1 2 3; do
    apt-get update --quiet -o Acquire::Retries=3 > "$log" 2>&1 && break
    echo "    the package lists could not be fetched (try $attempt of 3)" >&2
    sleep $((attempt * 3))
  done
  install || { tail -20 "$log" >&2; exit 1; }
fi
