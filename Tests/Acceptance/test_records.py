"""Raw records: each once, pages and filters over them, tokens, one by identity, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from typing import Any

from harness.checks import check, equal
from harness.context import Context
from harness.deployment import make_roles
from harness.registry import test

PERIOD = {"from": "2025-03-01T00:00:00Z", "to": "2025-04-30T00:00:00Z"}
# Field of a logged record by field of a row.
FIELDS = {
    "org": "org", "api": "api", "version": "api_version", "route": "route", "method": "method", "status": "status",
    "outcome": "outcome", "scheme": "scheme", "host": "host", "path": "path", "query": "query",
    "application": "application", "key": "key_id", "developer": "developer", "plan": "plan", "region": "region",
    "node": "node", "client_ip": "client_ip", "country": "country", "platform": "platform",
    "user_agent": "user_agent_family", "user_agent_string": "user_agent", "upstream": "upstream_address",
    "upstream_status": "upstream_status", "cache": "cache_result", "request_id": "request_id", "trace_id": "trace_id",
    "log_id": "log_id",
}
SECONDS = {
    "latency": "duration_us", "upstream_latency": "upstream_duration_us", "upstream_connect": "upstream_connect_us",
    "upstream_first_byte": "upstream_first_byte_us", "gateway_latency": "gateway_duration_us",
}
COUNTS = {"bytes_in": "request_bytes", "bytes_out": "response_bytes", "retries": "retry_count", "offset": "offset"}


def moment(microseconds: int) -> str:
    """RFC 3339 with microseconds."""
    return datetime.fromtimestamp(microseconds // 1_000_000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") \
        + f".{microseconds % 1_000_000:06d}Z"


def row_of(record: dict[str, Any]) -> dict[str, Any]:
    """The row that `/v1/records` shows of a logged record."""
    status, outcome = record.get("status"), record.get("outcome", "")
    fault = outcome.startswith("upstream_") or outcome == "gateway_error"
    is_error = outcome != "client_aborted" and ((status or 0) >= 400 or fault)
    row = {name: record.get(field) for name, field in FIELDS.items()}
    row |= {name: record.get(field, 0) for name, field in COUNTS.items()}
    row |= {name: record[field] / 1e6 if field in record else None for name, field in SECONDS.items()}
    started = record.get("started_at")
    return row | {
        "completed_at": moment(record["completed_at"]), "started_at": moment(started) if started else None,
        "status_class": f"{status // 100}xx" if status else None,
        "error": ("client" if status and 400 <= status < 500 else "server") if is_error else None,
        "tags": [f"{tag['key']}={tag['value']}" for tag in record.get("tags", [])]}


@test(seconds=120)
def raw_records(context: Context) -> None:
    """every record once, in pages; filters; csv and ndjson; one by identity; tokens; questions that no rollup covers"""
    context.note_seed()
    size = 600
    _, roles = make_roles(context, records={"retain": "36000d"})
    roles.start_aggregator()
    roles.start_serve()
    context.run(
        "load", "--into", roles.data, "--records", size, "--profile", "ten", "--seed", context.seed % 1000, "--start",
        "2025-03-29T12:00:00Z", "--step", 100_000_000, seconds=60)
    api = roles.api
    api.wait_total(size, "records loaded", 60, from_=PERIOD["from"], to=PERIOD["to"])
    logged = [row_of(record) for record in context.requests_logged(roles.data)]
    expected = sorted(logged, key=lambda row: (row["completed_at"], row["log_id"], row["offset"]), reverse=True)

    def page(token: str | None = "own", filters: list[str] | None = None, **more: str) -> Any:
        """One answer."""
        pairs = list((PERIOD | more).items()) + [("filter", each) for each in filters or []]
        answer = api.call("GET", "/v1/records", pairs, token=token)
        check(answer.status == 200, f"{more} {filters}: {answer.status} {answer.body[:300]!r}")
        return answer

    rows: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        answer = page(limit="150", **more).json()
        rows += answer["rows"]
        if answer["next"] is None:
            break
        more = {"cursor": answer["next"]}
    equal(rows, expected, "rows of all pages")
    check(answer["complete_since"] < "1930", f"complete since {answer['complete_since']}")
    equal(page(limit="3", order="completed_at").json()["rows"], expected[::-1][:3], "the oldest rows")

    # Filters on every field, by a value that occurs and as absent.
    for name in [*FIELDS, *COUNTS, *SECONDS, "status_class", "error"]:
        value = next((row[name] for row in expected if row[name] is not None), None)
        for text, matches in ((value, lambda row: row[name] == value), ("", lambda row: row[name] is None)):
            if text is None:
                continue
            wanted = [row for row in expected if matches(row)]
            for operator, result in (("eq", wanted), ("ne", [row for row in expected if not matches(row)])):
                got = page(limit="10000", filters=[f"{name}:{operator}:{text}"]).json()["rows"]
                check(got == result, f"{name}:{operator}:{text}: {len(got)} rows, expected {len(result)}")
    slow = sorted(row["latency"] for row in expected if row["latency"] is not None)[size // 2]
    both = page(limit="10000", filters=[f"latency:ge:{slow}", "status:in:200,201,404"]).json()["rows"]
    wanted = [row for row in expected if (row["latency"] or 0) >= slow and row["status"] in (200, 201, 404)]
    equal(both, wanted, "two filters")

    posted = api.call("POST", "/v1/records", body=PERIOD | {"limit": 50, "filter": ["status:in:200,201"]}).json()["rows"]
    equal(posted, page(limit="50", filters=["status:in:200,201"]).json()["rows"], "the same question as JSON")
    lines = page(limit="50", format="ndjson").body.splitlines()
    equal([json.loads(line) for line in lines], expected[:50], "NDJSON")
    table = list(csv.DictReader(io.StringIO(page(limit="50", format="csv").body.decode())))
    equal([(row["log_id"], row["offset"], row["path"]) for row in table],
          [(row["log_id"], str(row["offset"]), row["path"] or "") for row in expected[:50]], "CSV")

    one = expected[7]
    where = f"/v1/records/{one['log_id']}/{one['offset']}"
    equal(api.get(where).json(), one, "one record")
    # Tokens see their own.
    org = roles.make_token("--scope", "org", "--org", one["org"])
    wanted = [row for row in expected if row["org"] == one["org"]]
    equal(page(org, limit="10000").json()["rows"], wanted, "an organisation")
    other = roles.make_token("--scope", "org", "--org", "nobody")
    equal(page(other).json()["rows"], [], "another organisation")
    equal(api.call("GET", where, token=other).status, 404, "a record of another organisation")
    owned = next(row for row in expected if row["application"])
    mine = roles.make_token("--scope", "application", "--org", owned["org"], "--application", owned["application"])
    seen = page(mine, limit="10000").json()["rows"]
    own = [row for row in expected if (row["org"], row["application"]) == (owned["org"], owned["application"])]
    equal(seen, [{k: v for k, v in row.items() if k not in ("node", "upstream")} for row in own], "an application")
    for path, parameters, status in (
        ("/v1/records", {"filter": "node:eq:x"}, 400), ("/v1/usage", PERIOD | {"group_by": "upstream"}, 400),
    ):
        equal(api.call("GET", path, parameters, token=mine).status, status, f"an application and {parameters}")

    # What no rollup covers comes from the records.
    answer = api.usage(PERIOD | {"group_by": "country,method", "granularity": "total", "limit": "10000"})
    equal(answer["rollup"], "records", "the source of the answer")
    tally: dict[tuple, int] = {}
    for row in expected:
        tally[row["country"], row["method"]] = tally.get((row["country"], row["method"]), 0) + 1
    equal({(row["country"], row["method"]): row["requests"] for row in answer["rows"]}, tally, "countries and methods")

    for parameters, status in (
        ({"limit": "0"}, 400), ({"cursor": "x"}, 400), ({"filter": "latency:prefix:1"}, 400),
        ({"filter": "path:ge:1"}, 400), ({"filter": "no:eq:1"}, 400), ({"order": "path"}, 400), ({"group_by": "api"}, 400),
        ({"from": "2025-01-02", "to": "2025-01-01"}, 400),
    ):
        refused = api.call("GET", "/v1/records", parameters)
        equal((refused.status, refused.headers["content-type"]), (status, "application/problem+json"), f"{parameters}")
    for path in ("", one["log_id"], f"{one['log_id']}/999999", "x/1"):
        equal(api.get(f"/v1/records/{path}").status, 404, path)
    equal(api.call("GET", where, token=None).status, 401, "without a token")


@test(seconds=60)
def not_kept(context: Context) -> None:
    """without `records` in the configuration nothing is loaded, and the refusals say what to do"""
    _, roles = make_roles(context)
    roles.start_aggregator()
    roles.start_serve()
    context.run(
        "load", "--into", roles.data, "--records", 100, "--profile", "ten", "--seed", 3,
        "--start", "2025-03-29T12:00:00Z", seconds=60)
    roles.api.wait_total(100, "records folded", 60, from_=PERIOD["from"], to=PERIOD["to"])
    refused = roles.api.call("GET", "/v1/records", PERIOD)
    equal(refused.status, 400, "status")
    check("records: { retain" in refused.json()["detail"], f"{refused.body!r}")
    refused = roles.api.call("GET", "/v1/usage", PERIOD | {"group_by": "country,method"})
    equal(refused.status, 400, "status of a question that no rollup covers")
    check("by-country-method" in refused.json()["detail"], f"{refused.body!r}")
    equal(roles.api.get("/v1/meta").json()["records"], None, "records in /v1/meta")
