#!/usr/bin/env bash
# Builds weir and runs all tests, from nothing but Debian 12. Needs root only to install packages.
# Usage: tests/run.sh [--preset dev|asan|tsan] [arguments for ctest, such as -R gateway]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=dev
if [[ ${1:-} == --preset ]]; then
  preset=$2
  shift 2
fi
tests/packages.sh build test
tests/python_packages.sh
echo "configuring and building preset $preset"
cmake --preset "$preset" >build/configure.log || { cat build/configure.log; exit 1; }
cmake --build --preset "$preset"
ctest --preset "$preset" -j "$(nproc)" "$@"
