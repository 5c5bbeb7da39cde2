#!/usr/bin/env bash
# weir-gateway beside nginx as a plain proxy, in turn, before the same upstreams.
# Usage: tests/bench/gateway_vs_nginx.sh BIN_DIR [ROUNDS] [CASE...]
# Cases: small large paced ttft idle (all). Prints one line per run and the medians at the end.
# Every server runs in a session of its own (setsid): in the client's session the scheduler would
# treat it differently (autogroup).
set -euo pipefail
bin=$(realpath "${1:?usage: $0 BIN_DIR [ROUNDS] [CASE...]}")
rounds=${2:-3}
cases=("${@:3}")
[[ ${#cases[@]} -gt 0 ]] || cases=(small large paced ttft idle)
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
ulimit -n "$(ulimit -Hn)"
streams=$(( $(ulimit -n) / 2 - 500 ))  # a proxy needs two descriptors for each
[[ $streams -le 10000 ]] || streams=10000

start() { # NAME COMMAND...: its process group is its pid
  local name=$1
  shift
  setsid "$@" >"$work/$name.log" 2>&1 &
  pids+=($!)
  declare -g "pid_$name=$!"
}
await() { # PORT
  for _ in $(seq 200); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.05
  done
  echo "nothing listens on port $1" >&2
  tail -n 5 "$work"/*.log >&2
  exit 1
}
nginx_conf() { # FILE SERVERS
  cat >"$work/$1" <<CONF
daemon off;
worker_processes 2;
worker_rlimit_nofile $(ulimit -n);
pid $work/$1.pid;
error_log stderr error;
events { worker_connections 20000; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 300s;
  client_max_body_size 64m;
  client_body_buffer_size 512k;
  client_body_temp_path $work/body;
  proxy_temp_path $work/proxy;
  fastcgi_temp_path $work/fastcgi;
  uwsgi_temp_path $work/uwsgi;
  scgi_temp_path $work/scgi;
$2
}
CONF
}

usage='"usage":{"prompt_tokens":400,"completion_tokens":8,"total_tokens":408}'
whole='{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"eight words come back from here to you"}}],'$usage'}'
event='data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"finish_reason":null,"delta":{"content":"word"}}]}\n\n'
nginx_conf upstream.conf "
  server {
    listen 127.0.0.1:18001 reuseport; listen 127.0.0.1:18002 reuseport;
    listen 127.0.0.1:18003 reuseport; listen 127.0.0.1:18004 reuseport;
    location / { default_type application/json; return 200 '$whole'; }
  }
  server {
    listen 127.0.0.1:18011 reuseport;
    location / { default_type text/event-stream; return 200 \"$(printf '%s' "$event$event" | sed 's/"/\\"/g')data: [DONE]\\n\\n\"; }
  }"
proxy='proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 600s; proxy_buffering'
nginx_conf proxy.conf "
  upstream whole { server 127.0.0.1:18001; server 127.0.0.1:18002; server 127.0.0.1:18003;
                   server 127.0.0.1:18004; keepalive 1024; keepalive_requests 100000000; }
  upstream event { server 127.0.0.1:18011; keepalive 1024; keepalive_requests 100000000; }
  upstream paced { server 127.0.0.1:18021; server 127.0.0.1:18022; keepalive 1024; keepalive_requests 100000000; }
  upstream idle { server 127.0.0.1:18031; keepalive 1024; keepalive_requests 100000000; }
  server { listen 127.0.0.1:18101 reuseport; location / { proxy_pass http://whole; $proxy on; } }
  server { listen 127.0.0.1:18111 reuseport; location / { proxy_pass http://event; $proxy off; } }
  server { listen 127.0.0.1:18121 reuseport; location / { proxy_pass http://paced; $proxy off; } }
  server { listen 127.0.0.1:18131 reuseport; location / { proxy_pass http://idle; $proxy off; } }"

gateway() { # NAME PORT UPSTREAM_PORT...
  local flags=() port
  for port in "${@:3}"; do flags+=(--endpoint "http://127.0.0.1:$port"); done
  start "$1" "$bin/weir-gateway" --listen "127.0.0.1:$2" --threads 2 --no-scrape "${flags[@]}"
}
sim() { # NAME PORT INSTANCES ITL
  start "$1" "$bin/weir-sim" --model m --host 127.0.0.1 --port "$2" --instances "$3" \
    --max-num-seqs 16384 --max-waiting-queue-length 100000 --max-model-len 1000000 \
    --latency-calculator constant --time-to-first-token 5ms --inter-token-latency "$4"
}
start upstream nginx -p "$work" -c "$work/upstream.conf"
start proxy nginx -p "$work" -c "$work/proxy.conf"
gateway whole 18201 18001 18002 18003 18004
gateway event 18211 18011
for c in "${cases[@]}"; do
  if [[ $c == paced ]]; then
    sim paced_sim 18021 2 20ms
    gateway paced 18221 18021 18022
    await 18022; await 18221
  fi
  if [[ $c == idle ]]; then
    sim idle_sim 18031 1 20s
    await 18031
  fi
done
for port in 18001 18011 18101 18201 18211; do await "$port"; done

run() { # CASE NAME PID URL FLAGS...: PID 0 is nobody
  local out=$work/run.json watch=()
  [[ $3 == 0 ]] || watch=(--watch "$2=$3")
  "$bin/weir-load" proxy --model m --quiet --json "$out" --target "$4" "${watch[@]}" "${@:5}" ||
    python3 -c "import json; print(json.load(open('$out'))['errors_by_kind'])"
  python3 - "$1" "$2" "$out" "$work/results" <<'PY'
import json, sys
case, name, path, results = sys.argv[1:]
run = json.load(open(path))
row = {"case": case, "name": name, "errors": run["errors"], "requests": run["requests"],
       "req_s": run["requests_per_s"], "events_s": run.get("token_events_per_s", 0),
       "ttft_ms": run["ttft_ms"]["p50"], "load": float(open("/proc/loadavg").read().split()[0])}
for process in run["processes"]:
    if process["name"] == name:
        row["us_request"], row["us_event"] = process["us_per_request"], process["us_per_event"]
        row["rss_mib"] = process["resident_bytes_max"] / 2**20
with open(results, "a") as file:
    print(json.dumps(row), file=file)
print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
PY
}
for ((round = 0; round < rounds; ++round)); do
  for c in "${cases[@]}"; do
    case $c in
      small)
        flags=(--no-stream --body-bytes 2048 --concurrency 64 --duration 5s --warmup 1s)
        run small nginx "$pid_proxy" http://127.0.0.1:18101 "${flags[@]}"
        run small gateway "$pid_whole" http://127.0.0.1:18201 "${flags[@]}" ;;
      large)
        flags=(--no-stream --body-bytes 225280 --concurrency 16 --duration 5s --warmup 1s)
        run large nginx "$pid_proxy" http://127.0.0.1:18101 "${flags[@]}"
        run large gateway "$pid_whole" http://127.0.0.1:18201 "${flags[@]}" ;;
      paced) # 100 streams of an event every 20 ms
        flags=(--extra-body '{"ignore_eos":true}' --body-bytes 1024 --concurrency 100 --output-tokens 250 --ramp 1s --warmup 1500ms --duration 11s)
        run paced nginx "$pid_proxy" http://127.0.0.1:18121 "${flags[@]}"
        run paced gateway "$pid_paced" http://127.0.0.1:18221 "${flags[@]}" ;;
      ttft)
        flags=(--body-bytes 2048 --concurrency 1 --duration 3s --warmup 500ms)
        run ttft direct 0 http://127.0.0.1:18011 "${flags[@]}"
        run ttft nginx "$pid_proxy" http://127.0.0.1:18111 "${flags[@]}"
        run ttft gateway "$pid_event" http://127.0.0.1:18211 "${flags[@]}" ;;
      idle) # a fresh gateway, so that nothing but these streams is in its memory
        gateway "idle$round" 18231 18031
        await 18231
        pid=pid_idle$round
        flags=(--extra-body '{"ignore_eos":true}' --body-bytes 256 --concurrency "$streams" --output-tokens 10000 --ramp 12s --warmup 13s
               --duration 40s --threads 2)
        run idle gateway "${!pid}" http://127.0.0.1:18231 "${flags[@]}"
        echo "idle: $streams streams"
        kill -- "-${!pid}" ;;
    esac
  done
done
python3 - "$work/results" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
def of(case, name, key):
    return [row[key] for row in rows if row["case"] == case and row["name"] == name and row.get(key) is not None]
def text(values):
    return f"{statistics.median(values):.4g} ({min(values):.4g}..{max(values):.4g})"
print("\nmedian (least..most) of", len({json.dumps(r) for r in rows if r["case"] == rows[0]["case"] and r["name"] == "gateway"}),
      "rounds; ratio: median of the rounds' ratios")
for case, key in (("small", "us_request"), ("large", "us_request"), ("paced", "us_event"), ("ttft", "ttft_ms")):
    nginx, gateway = of(case, "nginx", key), of(case, "gateway", key)
    if not gateway:
        continue
    ratios = [g / n for g, n in zip(gateway, nginx)]
    print(f"{case:6} {key:11} nginx {text(nginx):28} gateway {text(gateway):28} ratio {text(ratios)}")
    if case == "ttft":
        direct = of(case, "direct", key)
        print(f"{'':6} direct {text(direct)}, added by nginx {text([n - d for n, d in zip(nginx, direct)])}, "
              f"by the gateway {text([g - d for g, d in zip(gateway, direct)])}")
if of("idle", "gateway", "rss_mib"):
    print("idle   rss_mib     gateway", text(of("idle", "gateway", "rss_mib")))
print("errors", sum(row["errors"] for row in rows))
PY
