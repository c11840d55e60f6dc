#!/usr/bin/env bash
# The benchmarks behind docs/performance.md, in its order. Quiet machine; about ten minutes.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

swift build --configuration release --product SluiceBench
for round in 1 2 3; do
    log "round $round of the hot path"
    .build/release/SluiceBench
done
Benchmarks/import.sh 3
for tool in nginx wrk taskset; do
    command -v "$tool" >/dev/null || { log "no $tool: the comparison with nginx is left out"; exit 0; }
done
Benchmarks/gateway-vs-nginx.sh 5 5
Benchmarks/gateway-vs-nginx.sh 3 5 strict
