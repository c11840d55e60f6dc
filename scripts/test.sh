#!/usr/bin/env bash
# Builds once and runs the unit tests and the acceptance tests; the last line sums both.
# Usage: scripts/test.sh [--quick]   (--quick: the short acceptance suite)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

quick=()
[ "${1:-}" = --quick ] && quick=(--quick)
results=$(mktemp --directory)
trap 'rm --recursive --force "$results"' EXIT

log "building (release, with tests)"
swift build --configuration release --build-tests

# Runs one suite with its output shown and kept; a failing suite does not hide the others.
failed=0
run_suite() { # NAME COMMAND...
    local name=$1
    shift
    log "running $name"
    "$@" 2>&1 | tee "$results/$name" || failed=1
}
# Runs one beside those that follow; its output is shown when it is waited for.
start_suite() { # NAME COMMAND...
    beside=$1
    shift
    log "running $beside beside the others"
    "$@" >"$results/$beside" 2>&1 &
    beside_pid=$!
}
finish_suite() {
    wait "$beside_pid" || failed=1
    cat "$results/$beside"
}
# A test that hangs must not take everything with it. The tests of module Kafka wait for librdkafka on the threads that
# all tests share, and those with a database wait for PostgreSQL: processes of their own, so that nobody starves. The
# order of sets and dictionaries is part of what a simulation's seed decides.
databases='QueryTests|PostgresTests'
# The program that `swift test` would run: without SwiftPM around it, two may run at the same time.
unit=(env NO_COLOR=1 timeout --kill-after=10s 15m .build/release/sluicePackageTests.xctest --testing-library swift-testing)
# Side by side is what computes and what mostly waits.
start_suite kafka "${unit[@]}" --filter KafkaTests
run_suite unit "${unit[@]}" --skip "KafkaTests|AggregatorTests|SimulationTests|$databases"
run_suite database "${unit[@]}" --filter "$databases"
finish_suite
start_suite simulation env SWIFT_DETERMINISTIC_HASHING=1 "${unit[@]}" --filter SimulationTests
run_suite aggregator "${unit[@]}" --filter AggregatorTests
finish_suite
# Three at a time, because most of them wait for brokers and databases; the seed is fixed here, so that what fails can be
# repeated, and drawn anew by `make chaos` and by hand. Time limits only end what hangs: they allow for a slow machine.
run_suite acceptance .venv/bin/python Tests/Acceptance/run.py "${quick[@]}" --binary .build/release/sluice \
    --jobs 3 --patience 3 --seed "${SLUICE_SEED:-20261121}"

# Swift Testing: "Test run with N tests in M suites passed|failed after …"; failures are listed one a line.
unit_total=0
unit_failed=0
for name in unit database aggregator simulation kafka; do
    count=$(sed --quiet --regexp-extended 's/.*Test run with ([0-9]+) tests?.*/\1/p' "$results/$name" | tail --lines=1)
    [ -n "$count" ] || { log "the $name tests did not finish"; failed=1; }
    bad=$(grep --count --extended-regexp 'Test ".*" (with [0-9]+ test cases? )?failed after' "$results/$name" || true)
    unit_total=$((unit_total + ${count:-0}))
    unit_failed=$((unit_failed + bad))
done
acceptance=$(grep --extended-regexp '^[0-9]+ passed, [0-9]+ failed' "$results/acceptance" | tail --lines=1)
passed=$(awk '{ print $1 }' <<<"${acceptance:-0}")
acceptance_failed=$(awk '{ print $3 + 0 }' <<<"${acceptance:-0 passed, 1}")
[ -n "$acceptance" ] || { log "the acceptance tests did not finish"; failed=1; }
total_failed=$((unit_failed + acceptance_failed))
# A suite that ended badly without naming a failure still counts as one.
[ "$failed" -eq 1 ] && [ "$total_failed" -eq 0 ] && total_failed=1
echo "$((unit_total - unit_failed + passed)) passed, $total_failed failed"
exit "$((total_failed > 0))"
