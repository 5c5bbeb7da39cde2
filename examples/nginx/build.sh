#!/usr/bin/env bash
# Builds the module for Debian's nginx, as nginx's own configure does (package nginx-dev).
# Usage: examples/nginx/build.sh WEIR_PREFIX BUILD_DIR     makes BUILD_DIR/ngx_http_weir_module.so
set -euo pipefail
export WEIR_PREFIX
WEIR_PREFIX=$(realpath "${1:?usage: $0 WEIR_PREFIX BUILD_DIR}")
module=$(realpath "$(dirname "$0")")
mkdir -p "${2:?usage: $0 WEIR_PREFIX BUILD_DIR}"
build=$(realpath "$2")
source=/usr/share/nginx/src
if [[ ! -f $source/conf_flags ]]; then
  echo "skipped: nginx-dev is not installed" >&2
  exit 77
fi
cd "$source"
. ./conf_flags
log=$build/build.log
if ! { ./configure "${NGX_CONF_FLAGS[@]}" --builddir="$build" --add-dynamic-module="$module" \
    --with-cc-opt="-O2 -fPIC -Wall -Wextra -Wno-unused-parameter -Werror" --with-ld-opt=-fPIC &&
    make -f "$build/Makefile" modules; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
