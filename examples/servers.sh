# Sourced by the scripts of the examples: servers on free ports of loopback that end with the script.
# Before: out=DIR, where the servers' logs lie. Add the pid of each server to `pids`.
pids=()
trap stop_servers EXIT

# Newest first, each waited for.
stop_servers() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; --i)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  pids=()
}

# Waits until a command succeeds, for at most 30 s.
await() {
  for _ in $(seq 300); do
    "$@" 2>/dev/null && return
    sleep 0.1
  done
  echo "gave up waiting for: $*" >&2
  tail -n 20 "$out"/*.log >&2
  exit 1
}

# Whether someone listens on a port.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sets `port` to the first of $1 ports in a row that nobody uses.
find_free_ports() {
  local i
  port=0
  while [[ $port -eq 0 ]]; do
    port=$((20000 + RANDOM % 10000))
    for ((i = 0; i < $1; ++i)); do
      if answers $((port + i)); then port=0; break; fi
    done
  done
}
