#!/usr/bin/env bash
# Installs what building, running and testing need, and only what is missing.
# Usage: scripts/setup.sh [build|test]   (default: build; test adds the acceptance tests' Python wheels)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
purpose=${1:-build}

command -v swift >/dev/null || fatal "no swift on PATH: install a Swift 6.3 toolchain first (swift.org/install)"

# Debian packages: headers that Package.swift links, the server that `sluice up` embeds, the charts of
# its dashboard, test tools.
packages=(libpq-dev librdkafka-dev zlib1g-dev pkg-config postgresql libjs-chart.js)
[ "$purpose" = test ] && packages+=(python3 python3-venv chromium chromium-driver curl fonts-inter kcat openssl protobuf-compiler)

missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep --quiet '^installed$' ||
        missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    log "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update --quiet=2
    as_root apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ "$purpose" = test ]; then
    requirements=$root/Tests/Acceptance/requirements.txt
    stamp=$root/.venv/requirements.txt
    if ! cmp --silent "$requirements" "$stamp"; then
        log "installing Python wheels for the acceptance tests into .venv"
        python3 -m venv --clear "$root/.venv"
        "$root/.venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
            --require-hashes --requirement "$requirements"
        cp "$requirements" "$stamp"
    fi
fi
