# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

# What a person should know while it runs.
log() { printf '%s\n' "$*" >&2; }

# Ends the script with a reason.
fatal() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id --user)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        fatal "need root to run: $* (no sudo here)"
    fi
}

# Top of the checkout.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export root
