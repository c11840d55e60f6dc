#!/usr/bin/env bash
# Format check of the Swift sources, and shellcheck of the scripts where it is installed.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
swift format lint --strict --recursive Package.swift Sources Tests Benchmarks
if command -v shellcheck >/dev/null; then
    shellcheck --external-sources scripts/*.sh Benchmarks/*.sh .ci/run
else
    log "shellcheck is not installed: scripts not checked"
fi
