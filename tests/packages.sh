#!/usr/bin/env bash
# Installs the Debian 12 packages that weir needs, if any is missing.
# Usage: tests/packages.sh build          to build the library and the programs
#        tests/packages.sh build test     and to run all tests
#        tests/packages.sh build python   or only for Python programs beside it
#        tests/packages.sh build envoy    or only for Envoy before it
set -euo pipefail
build=(build-essential cmake ninja-build ccache mold pkg-config ca-certificates
  libboost1.81-dev libboost-filesystem1.81-dev libabsl-dev libsimdjson-dev libyaml-cpp-dev
  nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libssl-dev
  libxxhash-dev libnghttp2-dev zlib1g-dev python3-dev pybind11-dev)
test=(libgtest-dev libgmock-dev libbenchmark-dev libgrpc++-dev golang-go golang-google-grpc-dev
  clang-format git curl openssl nginx nginx-dev chromium python3 python3-venv)
python=(python3 python3-venv ca-certificates)
envoy=("${python[@]}" curl)
wanted=()
for group in "$@"; do
  declare -n packages=$group
  wanted+=("${packages[@]}")
done
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
    missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0
command=(apt-get install -y --no-install-recommends "${missing[@]}")
if [[ $(id -u) -ne 0 ]]; then
  echo "missing packages; run as root: ${command[*]}" >&2
  exit 1
fi
echo "installing ${#missing[@]} packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && "${command[@]}"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
rm -f "$log"
