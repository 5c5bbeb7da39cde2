#!/usr/bin/env bash
# weir-epp under ext_proc_load, in turn with an echo server on the same transport, before a stand-in
# fleet of metric pages.
# Usage: tests/bench/epp.sh BIN_DIR [ROUNDS] [CASE...]
# Cases: small large events rate500 rate3000 half tls override idle memory (all).
# PROMPTS=N: distinct prompts of the case memory (1000000). SECONDS_EACH=S: length of a run (5).
# Prints one line per run, then the table of docs/perf/epp.md. Every server runs in a session of its
# own (setsid): in the client's session the scheduler would treat it differently (autogroup).
set -euo pipefail
bin=$(realpath "${1:?usage: $0 BIN_DIR [ROUNDS] [CASE...]}")
source=$(realpath "$(dirname "$0")/../..")
rounds=${2:-3}
cases=("${@:3}")
[[ ${#cases[@]} -gt 0 ]] || cases=(small large events rate500 rate3000 half tls override idle memory)
seconds=${SECONDS_EACH:-5}
prompts=${PROMPTS:-1000000}
work=$(mktemp -d)
touch "$work/results"
declare -A pid port
cleanup() {
  for name in "${!pid[@]}"; do kill -- "-${pid[$name]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
ulimit -n "$(ulimit -Hn)"

start() { # NAME COMMAND...: its process group is its pid
  setsid "${@:2}" >"$work/$1.log" 2>&1 &
  pid[$1]=$!
}
stop() { # NAME
  kill -- "-${pid[$1]}" 2>/dev/null || true
  wait "${pid[$1]}" 2>/dev/null || true
  unset "pid[$1]"
}
await() { # NAME COMMAND...: until it succeeds
  for _ in $(seq 600); do
    if "${@:2}" >/dev/null 2>&1; then return; fi
    kill -0 "${pid[$1]}" 2>/dev/null || break
    sleep 0.05
  done
  echo "$1 has not started:" >&2
  tail -n 20 "$work/$1.log" >&2
  exit 1
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
next=$((20000 + RANDOM % 10000))
free_port() {
  while listens $next; do next=$((next + 1)); done
  free=$next
  next=$((next + 1))
}

pages() { # NAME ENDPOINTS PAGE PAGE_BYTES
  rm -f "$work/$1.yaml" # of an earlier round: its servers are gone
  start "$1" "$bin/metric_pages" --endpoints "$2" --page "$source/tests/golden/scrape/$3" \
    --page-bytes "$4" --endpoints-file "$work/$1.yaml"
  await "$1" test -s "$work/$1.yaml"
}
echo_server() { # NAME FLAGS...
  free_port
  port[$1]=$free
  start "$1" "$bin/ext_proc_echo" --listen "127.0.0.1:$free" "${@:2}"
  await "$1" listens "$free"
}
epp() { # NAME PAGES PRODUCER_PARAMETERS FLAGS...
  cat >"$work/$1.config" <<CONFIG
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: approx-prefix-cache-producer
  parameters: {$3}
- type: prefix-cache-scorer
- type: max-score-picker
- type: file-discovery
  parameters: {path: $work/$2.yaml}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: max-score-picker}
dataLayer:
  discovery: {pluginRef: file-discovery}
CONFIG
  free_port; port[$1]=$free
  free_port; local health=$free
  free_port; local metrics=$free
  start "$1" "$bin/weir-epp" --config-file "$work/$1.config" --grpc-port "${port[$1]}" \
    --grpc-health-port "$health" --metrics-port "$metrics" --threads 1 "${@:4}"
  await "$1" listens "${port[$1]}"
  sleep 2 # every endpoint has been scraped
}

show() { # FILE: the last line of the results, short
  python3 - "$work/results" <<'PY'
import json, sys
run = json.loads(open(sys.argv[1]).readlines()[-1])
text = f"{run['name']:20} load {open('/proc/loadavg').read().split()[0]}"
if run["requests"]:
    text += (f"  cpu_ms {run['server_cpu_ms_per_request']:.4f}  req/s {run['requests_per_s']:.0f}"
             f"  decision_ms {run['decision_ms']['p50']:.3f}/{run['decision_ms']['p99']:.3f}"
             f"  errors {run['errors']} unsent {run['unsent']} {run['errors_by_kind'] or ''}")
print(text, f" cores {run['server_cores']:.3f}  rss_mib {run['server_rss_mib_max']:.1f}", flush=True)
PY
}
run() { # CASE SERVER FLAGS...: the server's name up to "_" is its column
  "$bin/ext_proc_load" --name "$1/${2%%_*}" --target "127.0.0.1:${port[$2]}" --warmup 1 \
    --duration "${duration:-$seconds}" --server-pid "${pid[$2]}" --json "$work/results" "${@:3}" \
    >"$work/load.log" 2>&1 || cat "$work/load.log"
  show
}
idle() { # CASE SERVER
  "$bin/ext_proc_load" --idle --name "$1/${2%%_*}" --duration "$((2 * seconds))" \
    --server-pid "${pid[$2]}" --json "$work/results" >/dev/null
  show
}
both() { # CASE FLAGS...
  run "$1" echo "${@:2}"
  run "$1" epp "${@:2}"
}
rate_of() { # NAME: half of the closed loop's rate, of the latest run
  python3 - "$1" "$work/results" <<'PY'
import json, sys
runs = [json.loads(line) for line in open(sys.argv[2])]
print(max(100, int([r["requests_per_s"] for r in runs if r["name"] == sys.argv[1]][-1] / 2)))
PY
}
wants() { [[ " ${cases[*]} " == *" $1 "* ]]; }

pages fleet 100 vllm_small.prom 1300
echo_server echo
epp epp fleet "" --secure-serving=false
if wants tls; then
  echo_server echo_tls --tls
  epp epp_tls fleet "" --secure-serving=true
fi
if wants override; then
  echo_server echo_override --mode-override
  epp epp_override fleet "" --secure-serving=false --skip-response-bodies
fi

one_round() { # ROUND
  local seed=(--seed "$1") c
  for c in "${cases[@]}"; do
    case $c in
      small) both small "${seed[@]}" ;;
      large) both large "${seed[@]}" --body-bytes 225280 ;;
      events) both events "${seed[@]}" --events 128 ;;
      rate500) both rate500 "${seed[@]}" --rate 500 ;;
      rate3000) both rate3000 "${seed[@]}" --rate 3000 ;;
      half)
        wants small || { echo "half needs small" >&2; exit 2; }
        local rate
        rate=$(rate_of small/epp)
        both half "${seed[@]}" --rate "$rate" ;;
      tls)
        run tls_small echo_tls "${seed[@]}" --tls
        run tls_small epp_tls "${seed[@]}" --tls
        run tls_large echo_tls "${seed[@]}" --tls --body-bytes 225280
        run tls_large epp_tls "${seed[@]}" --tls --body-bytes 225280 ;;
      override)
        run override echo_override "${seed[@]}" --obey-mode-override
        run override epp_override "${seed[@]}" --obey-mode-override ;;
      idle)
        idle idle100 epp
        pages large_pages 100 vllm.prom 39000
        epp epp_large large_pages "" --secure-serving=false
        idle idle100_39k epp_large
        stop epp_large; stop large_pages
        pages many_pages 1000 vllm_small.prom 1300
        epp epp_many many_pages "" --secure-serving=false
        idle idle1000 epp_many
        stop epp_many; stop many_pages ;;
      memory) ;; # once, below
      *) echo "no case $c" >&2; exit 2 ;;
    esac
  done
}
for ((round = 1; round <= rounds; ++round)); do one_round "$round"; done
if wants memory; then
  epp epp_memory fleet "autoTune: false, memoryBytesMax: 67108864" --secure-serving=false
  duration=0 run memory epp_memory --distinct --body-bytes 4096 --requests "$prompts"
fi

python3 - "$work/results" "$rounds" <<'PY'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
def of(name, key="server_cpu_ms_per_request"):
    return [run[key] for run in runs if run["name"] == name]
def text(values, digits=3):
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"
rows = []
def row(what, epp, echo, budget, digits=3):
    if epp or echo:
        ratio = f"{statistics.median([a / b for a, b in zip(epp, echo)]):.2f}" if epp and echo else "-"
        rows.append(f"| {what} | {text(epp, digits)} | {text(echo, digits)} | {ratio} | {budget} |")
def per_event(server):
    return [(many - few) / 120 * 1000 for many, few in
            zip(of(f"events/{server}"), of(f"small/{server}"))]
def pair(case, what, budget):
    row(what, of(f"{case}/epp"), of(f"{case}/echo"), budget)
pair("small", "1 KB, 8 events: CPU ms a request", "0.06")
pair("large", "220 KB, 8 events: CPU ms a request", "0.35")
pair("events", "1 KB, 128 events: CPU ms a request", "")
row("a further event: CPU us", per_event("epp"), per_event("echo"), "3", 2)
pair("rate500", "1 KB, 8 events, 500/s: CPU ms a request", "")
pair("rate3000", "1 KB, 8 events, 3,000/s: CPU ms a request", "")
pair("override", "1 KB, response bodies kept back: CPU ms a request", "")
pair("tls_small", "1 KB, TLS: CPU ms a request", "2 x plain")
pair("tls_large", "220 KB, TLS: CPU ms a request", "2 x plain")
for case, what in (("small", "1 KB"), ("large", "220 KB")):
    plain = of(f"{case}/epp")
    tls = of(f"tls_{case}/epp")
    if plain and tls:
        rows.append(f"| {what}, TLS to plain | {text([t / p for t, p in zip(tls, plain)], 2)} | "
                    f"{text([t / p for t, p in zip(of(f'tls_{case}/echo'), of(f'{case}/echo'))], 2)} | | 2 |")
def p99(server):
    return [value["p99"] for value in of(f"half/{server}", "decision_ms")]
row("half load: decision p99, ms", p99("epp"), p99("echo"), "2 more")
row("idle, 100 endpoints, 1.3 KB pages: cores", of("idle100/epp", "server_cores"), [], "0.03")
row("idle, 100 endpoints, 39 KB pages: cores", of("idle100_39k/epp", "server_cores"), [], "0.1")
row("idle, 1,000 endpoints, 1.3 KB pages: cores", of("idle1000/epp", "server_cores"), [], "0.3")
print(f"\nmedian (least..most) of {sys.argv[2]} rounds; ratio: median of the rounds' ratios")
print("| case | weir-epp | echo | ratio | budget |\n| --- | --- | --- | --- | --- |")
print("\n".join(rows))
for run in runs:
    if run["name"] != "memory/epp":
        continue
    memory, total = run["memory"], run["requests"]
    print(f"\nmemory: {total} distinct prompts, {run['errors']} errors; RSS MiB after")
    for share in (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1):
        begun, resident = min(memory, key=lambda m: abs(m[0] - share * memory[-1][0]))
        print(f"  {begun:9} prompts {resident:8.1f}")
for server in ("epp", "echo"):
    print(f"requests/s at 1 KB, {server}: {text(of(f'small/{server}', 'requests_per_s'), 0)}")
print("errors", sum(run["errors"] for run in runs), "unsent", sum(run["unsent"] for run in runs))
PY
