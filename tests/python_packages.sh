#!/usr/bin/env bash
# Makes the environments of the end-to-end tests, each with a ready.txt: build/venv (the OpenAI
# client, grpcio, and a real engine, llama.cpp, with a small model), build/venv_hosts (Ray Serve,
# LiteLLM and FastAPI, which want another OpenAI client) and build/venv_notebook (Jupyter's kernel,
# pandas, matplotlib). Without a package index an environment has no ready.txt, and the tests that
# need it say so and skip.
# Usage: tests/python_packages.sh [venv|venv_hosts|venv_notebook]    default: all
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
python=/usr/bin/python3
[[ -x $python ]] || python=python3

only=${1:-}

# environment <folder under build> <requirements>
environment() {
  [[ -z $only || $only == "$1" ]] || return 0
  local folder=build/$1 requirements=$2 log=build/$1.log
  if cmp -s "$requirements" "$folder/ready.txt"; then return; fi
  echo "installing Python packages into $folder"
  if "$python" -m venv "$folder" >"$log" 2>&1 &&
      grep -v -- '--no-deps' "$requirements" | "$folder/bin/pip" install -q -r /dev/stdin >>"$log" 2>&1 &&
      sed -n 's/ *# --no-deps//p' "$requirements" |
        "$folder/bin/pip" install -q --no-deps -r /dev/stdin >>"$log" 2>&1; then
    cp "$requirements" "$folder/ready.txt"
  else
    echo "skipped: the Python packages could not be installed:"
    tail -n 5 "$log"
  fi
}

environment venv tests/e2e/requirements.txt
environment venv_hosts tests/e2e/requirements_hosts.txt
environment venv_notebook tests/e2e/requirements_notebook.txt
