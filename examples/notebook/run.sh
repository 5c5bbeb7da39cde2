#!/usr/bin/env bash
# The notebook about routing policies, from nothing but Debian 12: builds weir for Python, installs Jupyter's
# kernel into build/venv_notebook, and executes the notebook into build/notebook/routing.ipynb. Needs root only to install
# packages. --open: opens it in JupyterLab instead. --update: writes the outputs back into this folder and docs/.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/notebook
mkdir -p "$out"
tests/packages.sh build
tests/python_packages.sh venv_notebook
if [[ ! -f build/venv_notebook/ready.txt ]]; then
  echo "skipped: Jupyter comes from PyPI, which is out of reach" >&2
  exit 77
fi
python=build/venv_notebook/bin/python
if [[ -n ${WEIR_PYTHON_DIR:-} ]]; then
  export PYTHONPATH=$(realpath "$WEIR_PYTHON_DIR")
else
  export PYTHONPATH=$PWD/build/release/python
  echo "building weir for Python (preset release)"
  cmake --preset release >"$out/configure.log" || { cat "$out/configure.log"; exit 1; }
  cmake --build --preset release --target weir_python
fi
case ${1:-} in
  --open)
    "$python" -m jupyterlab --version >/dev/null 2>&1 || "$python" -m pip install -q jupyterlab
    exec "$python" -m jupyterlab examples/notebook/routing.ipynb
    ;;
  --update)
    "$python" examples/notebook/execute.py --update
    ;;
  *)
    "$python" examples/notebook/execute.py "$out/routing.ipynb"
    echo "executed: $out/routing.ipynb; to look at it: examples/notebook/run.sh --open"
    ;;
esac
