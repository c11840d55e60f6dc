#!/usr/bin/env bash
# Proxied and recorded requests per second on one core, beside nginx with its access log, in turn.
# Usage: Benchmarks/gateway-vs-nginx.sh [PAIRS] [SECONDS] [SYNC]   needs nginx, wrk, taskset; loopback only.
# SYNC is the log's mode: interval (default), strict or os.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-5}
seconds=${2:-5}
sync=${3:-interval}
sluice=${SLUICE:-.build/release/sluice}
work=$(mktemp --directory)
chmod 755 "$work"
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm --recursive --force "$work"
}
trap cleanup EXIT

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
wait_port() {
    python3 - "$1" <<'PY'
import socket, sys, time
for _ in range(300):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        break
    except OSError:
        time.sleep(0.05)
else:
    sys.exit("nothing listens on port " + sys.argv[1])
PY
}

upstream_port=$(free_port)
proxy_port=$(free_port)
gateway_port=$(free_port)

cat >"$work/upstream.conf" <<CONF
worker_processes 1; daemon off; pid $work/upstream.pid; error_log $work/upstream.err;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path $work/u1;
  proxy_temp_path $work/u2; fastcgi_temp_path $work/u3; uwsgi_temp_path $work/u4; scgi_temp_path $work/u5;
  server { listen 127.0.0.1:$upstream_port; location / { default_type text/plain; return 200 "hello, world\n"; } } }
CONF
cat >"$work/proxy.conf" <<CONF
worker_processes 1; daemon off; pid $work/proxy.pid; error_log $work/proxy.err;
events { worker_connections 1024; }
http { access_log $work/access.log combined; keepalive_requests 1000000000; client_body_temp_path $work/p1;
  proxy_temp_path $work/p2; fastcgi_temp_path $work/p3; uwsgi_temp_path $work/p4; scgi_temp_path $work/p5;
  upstream up { server 127.0.0.1:$upstream_port; keepalive 64; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:$proxy_port; location / { proxy_pass http://up; proxy_http_version 1.1;
    proxy_set_header Connection ""; } } }
CONF
cat >"$work/sluice.yaml" <<CONF
data: $work/data
log: { sync: $sync }
gateway:
  listen: 127.0.0.1:$gateway_port
  threads: 1
  apis:
    - { id: hello, org: bench, listen_path: /, upstreams: ["http://127.0.0.1:$upstream_port"], auth: { mode: none }, routes: ["GET /items/{id}"] }
CONF

taskset --cpu-list 1 nginx -c "$work/upstream.conf" -p "$work" & pids+=($!)
taskset --cpu-list 0 nginx -c "$work/proxy.conf" -p "$work" & pids+=($!)
taskset --cpu-list 0 "$sluice" gateway --config "$work/sluice.yaml" >"$work/gateway.out" 2>&1 & pids+=($!)
for port in "$upstream_port" "$proxy_port" "$gateway_port"; do wait_port "$port"; done

rate() { # PORT
    taskset --cpu-list 1 wrk --threads 1 --connections 32 --duration "${seconds}s" --latency \
        "http://127.0.0.1:$1/items/42" >"$work/wrk.out"
    awk '/Requests\/sec/ { rate = $2 } /99%/ { p99 = $2 } END { print rate, p99 }' "$work/wrk.out"
}
rate "$proxy_port" >/dev/null
rate "$gateway_port" >/dev/null
for pair in $(seq "$pairs"); do
    read -r n np99 < <(rate "$proxy_port")
    read -r s sp99 < <(rate "$gateway_port")
    echo "pair $pair: nginx $n/s p99 $np99, sluice $s/s p99 $sp99, ratio $(awk "BEGIN { printf \"%.2f\", $s / $n }")"
done | tee "$work/pairs"
# By the ratio, which is the last field.
sort --key 12 --numeric-sort "$work/pairs" | sed --quiet "s/pair [0-9]*/median of $pairs/;$(((pairs + 1) / 2))p"
