#!/usr/bin/env bash
# Envoy with weir-epp as its picker, from nothing but Debian 12: three simulated vLLM servers,
# weir-epp, the real Envoy; then requests, and where each went. Everything listens on free ports of
# loopback and ends with the script; `run.sh --stay` keeps it until Ctrl-C.
# Needs root only to install packages. WEIR_BIN_DIR: a folder of built programs, nothing is built.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=examples/envoy
out=build/envoy
stay=${1:-}
mkdir -p "$out"
tests/packages.sh build envoy
tests/python_packages.sh
if [[ ! -f build/venv/ready.txt ]]; then
  echo "skipped: Envoy comes from PyPI, which is out of reach" >&2
  exit 77
fi
envoy=$(build/venv/bin/python -c 'import envoy._bin, os; print(os.path.dirname(envoy._bin.__file__))')/envoy
if [[ -n ${WEIR_BIN_DIR:-} ]]; then
  bin=$(realpath "$WEIR_BIN_DIR")
else
  bin=$PWD/build/release/bin
  echo "building weir-epp, weir-sim and weir-load (preset release)"
  cmake --preset release >"$out/configure.log" || { cat "$out/configure.log"; exit 1; }
  cmake --build --preset release --target weir-epp weir-sim weir-load
fi

source examples/servers.sh
ready() { [[ $(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1$2") == 200 ]]; }

# Servers, weir-epp's three, Envoy's two.
find_free_ports 8
base=$port
grpc=$((base + 3)) health=$((base + 4)) metrics=$((base + 5)) clients=$((base + 6)) admin=$((base + 7))

# The files of this folder, with these ports.
for file in envoy.yaml endpoints.yaml pipeline.yaml; do
  sed -e "s/\b8000\b/$base/; s/\b8001\b/$((base + 1))/; s/\b8002\b/$((base + 2))/" \
    -e "s/\b9002\b/$grpc/; s/\b8081\b/$clients/; s/\b19000\b/$admin/" "$here/$file" >"$out/$file"
done

echo "starting 3 simulated vLLM servers, weir-epp and $("$envoy" --version | grep -o '/[0-9.]*/' | tr / ' ' | sed 's/^ */Envoy /')"
"$bin/weir-sim" --model demo --host 127.0.0.1 --port $base --instances 3 --hardware l40s \
  --num-gpu-blocks-override 3000 --seed 1 >"$out/sim.log" 2>&1 &
pids+=($!)
(cd "$out" && exec "$bin/weir-epp" --config-file pipeline.yaml --grpc-port $grpc \
  --grpc-health-port $health --metrics-port $metrics --bind-address 127.0.0.1 \
  --health-checking --drain-timeout 0s >epp.log 2>&1) &
pids+=($!)
await answers $grpc
"$envoy" -c "$out/envoy.yaml" --use-dynamic-base-id --concurrency 2 --log-level warning \
  >"$out/envoy.log" 2>&1 &
pids+=($!)
await ready $admin /ready
for i in 0 1 2; do await answers $((base + i)); done
url=http://127.0.0.1:$clients

# Sends the request on its input; prints which server answered.
ask() {
  local status port
  status=$(curl -sS -o "$out/answer" -D "$out/head" -w '%{http_code}' -d @- \
    -H 'content-type: application/json' "$url/v1/chat/completions")
  if [[ $status != 200 ]]; then
    echo "answered with $status: $(<"$out/answer")" >&2
    return 1
  fi
  port=$(sed -n 's/^x-served-by: [0-9.]*:\([0-9]*\).*/\1/p' "$out/head")
  echo "server-$((port - base))"
}

echo
echo "a streamed answer:  curl $url/v1/chat/completions -d '{\"model\": \"demo\", \"stream\": true, ...}'"
served=$(ask <<<'{"model": "demo", "stream": true, "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}')
sed -n 's/{.*"choices":/{... "choices":/; s/^data/    data/p' "$out/answer"
echo "    (from $served)"
echo
echo "four conversations, each with a long text of its own: every turn goes where the text is cached"
for name in a b c d; do
  text=$(for i in $(seq 400); do echo -n "$name$i "; done)
  line="    conversation $name: "
  for turn in 1 2 3 4; do
    text+=" Question $turn?"
    served=$(ask <<<"{\"model\": \"demo\", \"max_tokens\": 20, \"messages\": [{\"role\": \"user\", \"content\": \"$text\"}]}")
    line+=" $served"
  done
  echo "$line"
done
echo
echo "load through Envoy: 60 conversations of 3 turns with 10 shared system prompts"
"$bin/weir-load" run --target "$url" --server-header x-served-by --model demo --quiet \
  --json "$out/load.json" --conversations 60 --groups 10 --system-tokens 2000 --turns 3 \
  --input-tokens uniform:60:180 --output-tokens uniform:10:20 --ignore-eos --concurrency 24 \
  --name "weir-epp" --seed 7 >"$out/load.txt"
"$bin/weir-load" compare "$out/load.json"
echo
echo "what the picker counted:"
curl -s "http://127.0.0.1:$metrics/metrics" |
  grep -E '^llm_d_epp_(request_total|ready_endpoints|request_running)' | sed 's/^/    /'
cat <<END

To look further: $here/README.md; logs and the files used are in $out.
    picker     curl http://127.0.0.1:$metrics/metrics    curl http://127.0.0.1:$metrics/debug/decisions
    Envoy      curl http://127.0.0.1:$admin/stats?filter=ext_proc    curl http://127.0.0.1:$admin/clusters
END
if [[ $stay == --stay ]]; then
  echo "running until Ctrl-C: $url"
  wait "${pids[-1]}"
fi
