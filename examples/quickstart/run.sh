#!/usr/bin/env bash
# The main job in one command, from nothing but Debian 12: four simulated model servers, the gateway,
# and the same multi-turn conversations under round robin and then prefix-aware routing.
# Prints a table; writes build/quickstart/report.html and report.json. Needs root only to install
# packages. Under 15 minutes the first time, under 2 afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=examples/quickstart
out=build/quickstart
bin=build/release/bin
servers=4
conversations=240

title="weir quickstart: $servers servers (simulated vLLM), $conversations conversations, shared system prompts"
echo "$title"
tests/packages.sh build
mkdir -p "$out"
echo "building weir-gateway, weir-sim and weir-load (preset release)"
cmake --preset release >"$out/configure.log" || { cat "$out/configure.log"; exit 1; }
cmake --build --preset release --target weir-gateway weir-sim weir-load

source examples/servers.sh
# Both policies meet servers of the same names.
find_free_ports $servers

# Runs the workload through a gateway with the given pipeline, before fresh servers.
measure() {
  local name=$1 pipeline=$2 result=$3
  "$bin/weir-sim" --model quickstart --host 127.0.0.1 --port $port --instances $servers \
    --hardware l40s --num-gpu-blocks-override 3000 --seed 1 >"$out/sim.log" 2>&1 &
  pids+=($!)
  local endpoints=() i
  for ((i = 0; i < servers; ++i)); do
    await answers $((port + i))
    endpoints+=(--endpoint "http://127.0.0.1:$((port + i))")
  done
  "$bin/weir-gateway" --listen 127.0.0.1:0 --config "$pipeline" "${endpoints[@]}" \
    >"$out/gateway.log" 2>&1 &
  pids+=($!)
  await grep -q '^listening on' "$out/gateway.log"
  local url
  url=$(sed -n 's/^listening on //p' "$out/gateway.log")
  await answers "${url##*:}"
  echo "policy: $name"
  "$bin/weir-load" run --target "$url" --model quickstart --name "$name" --json "$result" \
    --conversations $conversations --groups 40 --system-tokens 2000 --turns 4 \
    --input-tokens uniform:60:180 --output-tokens uniform:20:40 --ignore-eos \
    --concurrency 32 --seed 7 >"${result%.json}.txt"
  stop_servers
}

measure "round robin" $here/round_robin.yaml "$out/round_robin.json"
measure "prefix aware" $here/prefix_aware.yaml "$out/prefix_aware.json"
echo
"$bin/weir-load" compare "$out/round_robin.json" "$out/prefix_aware.json" \
  --html "$out/report.html" --json "$out/report.json" \
  --title "$title"
