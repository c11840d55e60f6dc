#!/usr/bin/env bash
# Lines per second of `sluice import` into a durable log, beside mawk counting the same file by status, in turn.
# Usage: Benchmarks/import.sh [PAIRS] [LINES]
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-3}
lines=${2:-1000000}
sluice=${SLUICE:-.build/release/sluice}
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT

awk -v n="$lines" 'BEGIN { srand(7); split("200 200 200 200 304 404 500", s, " ");
    for (i = 0; i < n; i++)
        printf "10.%d.%d.%d - - [17/May/2015:%02d:%02d:%02d +0000] \"GET /items/%d?page=%d HTTP/1.1\" %s %d \"-\" \"Mozilla/5.0 (X11; Linux x86_64) Firefox/115.0\"\n",
            rand() * 4, rand() * 256, rand() * 256, i * 24 / n, rand() * 60, rand() * 60, rand() * 5000, i, s[int(rand() * 7) + 1], rand() * 100000 }' \
    >"$work/access.log"

seconds() { # COMMAND...
    local start end
    start=$(date +%s.%N)
    "$@" >/dev/null
    end=$(date +%s.%N)
    awk "BEGIN { printf \"%.3f\", $end - $start }"
}
for pair in $(seq "$pairs"); do
    # shellcheck disable=SC2016  # awk's fields, not the shell's
    a=$(seconds awk '{ n[$9]++ } END { for (k in n) print k, n[k] }' "$work/access.log")
    s=$(seconds "$sluice" import --data "$work/data-$pair" --org bench --api web "$work/access.log")
    awk "BEGIN { printf \"pair $pair: awk %d lines/s, sluice import %d lines/s, ratio %.2f\n\", $lines / $a, $lines / $s, $a / $s }"
    rm --recursive --force "$work/data-$pair"
done | tee "$work/pairs"
sort --key 9 --numeric-sort "$work/pairs" | sed --quiet "s/pair [0-9]*/median of $pairs/;$(((pairs + 1) / 2))p"
