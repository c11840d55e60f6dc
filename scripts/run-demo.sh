#!/usr/bin/env bash
# The demo behind `make run`: serves, sends seeded requests through the gateway, prints a usage table, keeps
# serving until Ctrl-C.  Usage: scripts/run-demo.sh [DATA_DIRECTORY]
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
sluice=$root/.build/release/sluice
data=${1:-${SLUICE_DATA:-$root/sluice-data}}

mkdir --parents "$data"
output=$data/demo.out
: >"$output"
"$sluice" up --data "$data" > >(tee --append "$output") 2>&1 &
server=$!
# Ctrl-C reaches the server by itself when it shares our terminal; TERM and a lost terminal do not.
stop() { kill -TERM "$server" 2>/dev/null || true; }
trap stop INT TERM HUP EXIT

log "waiting for sluice to listen"
listening=$(grep --max-count=1 '^listening ' < <(tail --follow --lines=+1 --pid="$server" "$output")) ||
    fatal "sluice up stopped before it listened; its last lines are above"
gateway=$(sed --regexp-extended 's/.*gateway=([^ ]+).*/\1/' <<<"$listening")
serve=$(sed --regexp-extended 's/.*serve=([^ ]+).*/\1/' <<<"$listening")

query=("$sluice" query --url "http://$serve" --token "$(cat "$data/admin.token")" --granularity total)
started=$(date --utc +%Y-%m-%dT%H:%M:%SZ)
log "sending 4,000 seeded requests through the gateway"
"$sluice" load --url "http://$gateway" --rate 1000 --duration 4s --seed 7 --profile demo
# The aggregator folds several times a second; the table waits until it holds everything that was sent.
for _ in {1..100}; do
    counted=$("${query[@]}" --from "$started" --metrics requests --format csv | grep --extended-regexp '^[0-9]+' || echo 0)
    [ "${counted//[^0-9]/}" -ge 4000 ] && break
    sleep 0.1
done
"${query[@]}" --from -15m --group-by api,route --metrics requests,errors,latency_p50,latency_p99

cat <<TEXT

Sluice is serving. Next:
  usage by status      curl -H "Authorization: Bearer \$(cat $data/admin.token)" 'http://$serve/v1/usage?group_by=status'
  from the terminal    $sluice query --group-by application --metrics requests,latency_p99 --url http://$serve --token ...
  your own access log  $sluice import --data $data --format combined --org acme --api web --wait access.log
  the raw log          $sluice log ls $data
  stop                 Ctrl-C
TEXT
# A signal interrupts the first wait; the second lets the server finish and gives its exit code.
wait "$server" || true
wait "$server"
