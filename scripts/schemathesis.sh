#!/usr/bin/env bash
# Schemathesis against the query API: a server with a little traffic, then what schemas/openapi.yaml allows and forbids, by
# the thousand. No 5xx, and no answer that the document does not describe. By hand, about a minute: schemathesis.sh [EXAMPLES]
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

binary=${BINARY:-.build/release/sluice}
[ -x "$binary" ] || fatal "$binary is missing: make build"
tool=$root/.build/schemathesis
[ -x "$tool/bin/schemathesis" ] || {
    python3 -m venv "$tool"
    "$tool/bin/pip" install --quiet schemathesis==4.32.5
}

data=$(mktemp --directory)
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } || true
    rm --recursive --force "$data"
}
trap cleanup EXIT

cat >"$data/sluice.yaml" <<CONFIGURATION
data: $data/files
gateway:
  listen: 127.0.0.1:0
  apis:
    - id: orders
      org: demo
      listen_path: /orders/
      upstreams: ["builtin:demo"]
      tags: [{ name: team, value: payments }]
serve: { listen: 127.0.0.1:0, requests_max: 0, attempts_max: 0 }
records: { retain: 1d }
rollups: [{ name: by-team, dimensions: [org, tag.team] }]
meters: [{ name: calls, aggregate: count, period: day }]
alerts: [{ name: quota, metric: quota, meter: calls, limit: 1000, above: 0.9 }]
CONFIGURATION
"$binary" up --config "$data/sluice.yaml" >"$data/up.txt" 2>&1 &
server=$!
address() { sed --quiet "s/^listening .*$1=\\([0-9.:]*\\).*/\\1/p" "$data/up.txt"; }
for _ in $(seq 300); do
    [ -z "$(address serve)" ] || break
    kill -0 "$server" || fatal "the server ended: $(cat "$data/up.txt")"
    sleep 0.2
done
serve=$(address serve)
[ -n "$serve" ] || fatal "the server is not ready after a minute"
for number in $(seq 50); do curl --silent --output /dev/null "http://$(address gateway)/orders/$number"; done

# Not asked: that whatever fits the schema is accepted (times, zones and cursors have grammars of their own), nor that what
# does not fit is refused with 400 alone (an empty list is no list, and a long one is 414).
cd "$data"    # It leaves its notes where it is started.
"$tool/bin/schemathesis" run "http://$serve/openapi.yaml" --url "http://$serve" --no-color \
    --header "Authorization: Bearer $(cat "$data/files/admin.token")" --max-examples "${1:-300}" --workers 1 \
    --checks all --exclude-checks positive_data_acceptance,negative_data_rejection
