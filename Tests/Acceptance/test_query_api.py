"""The query API's contract: scopes, problem documents, ordering, limits, formats."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from typing import Any

from harness.checks import Failure, check, equal
from harness.context import Context
from harness.database import Cluster
from harness.deployment import Roles, make_roles
from harness.registry import test

PERIOD = {"from_": "2025-06-01T00:00:00Z", "to": "2025-06-02T00:00:00Z"}
RANGE = {"from": PERIOD["from_"], "to": PERIOD["to"]}


def loaded(context: Context, records: int = 4000) -> tuple[Cluster, Roles, list[dict[str, Any]]]:
    """A query API over two organisations' records."""
    cluster, roles = make_roles(context)
    for number, profile in enumerate(("ten", "demo")):
        context.run(
            "load", "--into", roles.data, "--records", records, "--profile", profile, "--seed", 3 + number, "--start",
            "2025-06-01T03:00:00Z", "--step", 1_000_000)
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(2 * records, "records loaded", 40, **PERIOD)
    return cluster, roles, context.requests_logged(roles.data)


@test(seconds=60)
def scopes(context: Context) -> None:
    """each scope sees its own and no more, whatever the question"""
    _, roles, records = loaded(context)
    api = roles.api
    org = roles.make_token("--scope", "org", "--org", "demo")
    other = roles.make_token("--scope", "org", "--org", "nobody")
    mine = roles.make_token("--scope", "application", "--org", "org-0", "--application", "app-1")
    foreign = roles.make_token("--scope", "application", "--org", "demo", "--application", "no-such-app")

    by_org = api.tally("org", **PERIOD)
    equal(by_org, {("demo",): 4000, ("org-0",): 4000}, "what the administrator sees")
    equal(api.tally("org", token=org, **PERIOD), {("demo",): 4000}, "what an organisation sees")
    equal(api.rows(token=other, group_by="org", granularity="total", **PERIOD), [], "what another organisation sees")
    own = sum(record["org"] == "org-0" and record.get("application") == "app-1" for record in records)
    check(own > 0, "the test's application has no records")
    equal(
        api.tally("org,application", token=mine, **PERIOD), {("org-0", "app-1"): own}, "what an application sees")
    equal(api.total(token=mine, **PERIOD), own, "an application's total")
    equal(api.total(token=foreign, **PERIOD) or 0, 0, "what an unknown application sees")
    # Asking for others' data with filters does not widen the view.
    equal(
        api.rows(token=mine, granularity="total", group_by="application", filter=["application:ne:app-1"], **PERIOD), [],
        "an application that asks for others")
    equal(
        api.rows(token=org, granularity="total", group_by="org", filter=["org:in:org-0,nobody"], **PERIOD), [],
        "an organisation that asks for others")
    # The rollup `api` knows no application: an application must not get it unfiltered.
    answer = api.call("GET", "/v1/usage", {"group_by": "status", "granularity": "total", **RANGE}, token=mine)
    if answer.status == 200:
        total = sum(row["requests"] for row in answer.json()["rows"])
        equal(total, own, "an application that groups by status")
    else:
        check(answer.status in (400, 403), f"an application that groups by status: {answer.status}")
        answer.problem(answer.status)
    # Metadata does not leak other organisations' names either.
    for token, hidden in ((org, "org-0"), (mine, "app-2")):
        meta = api.call("GET", "/v1/meta", token=token)
        check(meta.status in (200, 403), f"/v1/meta: {meta.status}")
        check(hidden.encode() not in meta.body, f"/v1/meta shows {hidden}")


@test(seconds=60)
def authentication(context: Context) -> None:
    """without a valid token there is 401 and a problem document; health needs none"""
    cluster, roles = make_roles(context)
    roles.start_serve()
    api = roles.api
    for path in ("/v1/usage", "/v1/meta"):
        for token in (None, "", "nonsense", api.token + "x", api.token[:-1]):
            answer = api.call("GET", path, token=token)
            answer.problem(401)
            check("bearer" in answer.headers.get("www-authenticate", "").lower(), f"no WWW-Authenticate: {answer.headers}")
    for scheme in ("Basic", "bearer"):
        answer = api.call("GET", "/v1/meta", token=None, headers={"Authorization": f"{scheme} {api.token}"})
        equal(answer.status, 401 if scheme == "Basic" else 200, f"scheme {scheme} (the scheme's case does not matter)")
    answer = api.call("GET", "/v1/usage", {"access_token": api.token}, token=None)
    equal(answer.status, 401, "a token in the query string")
    for path in ("/livez", "/readyz"):
        equal(api.call("GET", path, token=None).status, 200, path)
    metrics = api.call("GET", "/metrics", token=None)
    if metrics.status == 401:
        metrics = api.call("GET", "/metrics")
    equal(metrics.status, 200, "/metrics")
    check(b"# TYPE" in metrics.body, "/metrics is no Prometheus text")
    description = api.call("GET", "/openapi.yaml", token=None)
    equal(description.status, 200, "/openapi.yaml")
    check(b"/v1/usage" in description.body, "/openapi.yaml does not describe /v1/usage")
    api.call("GET", "/v1/nothing").problem(404)
    api.call("DELETE", "/v1/usage").problem(405)


@test(seconds=60)
def bad_parameters(context: Context) -> None:
    """every wrong parameter is answered 400 with a problem that says what to change"""
    cluster, roles = make_roles(context)
    roles.start_serve()
    api = roles.api
    cases: dict[str, list[tuple[str, str]]] = {
        "from": [("from", "yesterday")],
        "to": [("to", "2025-13-01T00:00:00Z")],
        "reversed": [("from", "2025-06-02T00:00:00Z"), ("to", "2025-06-01T00:00:00Z")],
        "relative": [("from", "-24parsecs")],
        "granularity": [("granularity", "2h")],
        "tz": [("tz", "Mars/Olympus")],
        "tz path": [("tz", "../../etc/passwd")],
        "metrics": [("metrics", "requests,happiness")],
        "no metric": [("metrics", "")],
        "percentile": [("metrics", "latency_p101")],
        "group_by": [("group_by", "colour")],
        "group_by twice": [("group_by", "api,status,api")],
        "filter form": [("filter", "status=200")],
        "filter op": [("filter", "status:about:200")],
        "filter dimension": [("filter", "colour:eq:blue")],
        "filter status": [("filter", "status:eq:abc")],
        "order": [("order", "colour")],
        "limit 0": [("limit", "0")],
        "limit large": [("limit", "10001")],
        "limit text": [("limit", "many")],
        "format": [("format", "xml")],
        "unknown": [("frm", "-1h")],
        "twice": [("tz", "UTC"), ("tz", "Europe/Berlin")],
        "not covered": [("group_by", "status,application")],
        "no such rollup": [("group_by", "upstream,key")],
        "too many buckets": [("from", "2000-01-01T00:00:00Z"), ("to", "2025-01-01T00:00:00Z"), ("granularity", "1m")],
    }
    wrong = []
    for name, parameters in cases.items():
        answer = api.call("GET", "/v1/usage", parameters)
        try:
            answer.problem(400)
        except Failure as failure:
            wrong.append(f"{name}: {failure}")
    bodies: dict[str, Any] = {
        "no JSON": b"{", "array": [], "unknown field": {"colour": "blue"}, "wrong type": {"limit": "x"},
        "nested": {"from": {"a": 1}}, "invalid UTF-8": b'{"tz":"\xff"}'}
    for name, body in bodies.items():
        answer = api.call("POST", "/v1/usage", body=body)
        try:
            answer.problem(400)
        except Failure as failure:
            wrong.append(f"POST {name}: {failure}")
    answer = api.call("POST", "/v1/usage", body=b"x" * (8 << 20))
    if answer.status not in (400, 413):
        wrong.append(f"POST of 8 MiB: {answer.status}")
    problem = api.call("GET", "/v1/usage", {"group_by": "status,application"}).json()
    text = json.dumps(problem)
    if "status" not in text or "application" not in text:
        wrong.append(f"the refusal does not name the dimensions: {text}")
    if wrong:
        raise Failure("\n  ".join([f"{len(wrong)} cases:", *wrong]))
    equal(api.call("GET", "/v1/usage", {"tz": "Europe/Berlin"}).status, 200, "a good question afterwards")


@test(seconds=60)
def answers(context: Context) -> None:
    """order, limit, formats, rounding and the frame of an answer"""
    _, roles, records = loaded(context)
    api = roles.api
    answer = api.usage({"group_by": "api", "granularity": "1h", "metrics": "requests,errors,error_rate", **RANGE})
    equal((answer["from"], answer["to"], answer["granularity"], answer["tz"]), (RANGE["from"], RANGE["to"], "1h", "UTC"), "echo")
    check("rollup" in answer and "complete_to" in answer and "next" in answer, f"members of an answer: {sorted(answer)}")
    for row in answer["rows"]:
        expected = row["errors"] / row["requests"] if row["requests"] else None
        check(abs(row["error_rate"] - expected) < 1e-9, f"error_rate of {row}")

    # from and to round outward to the minute, and are echoed.
    answer = api.usage({"from": "2025-06-01T03:10:20Z", "to": "2025-06-01T03:20:40.5Z", "granularity": "total", "group_by": "status"})
    equal((answer["from"], answer["to"]), ("2025-06-01T03:10:00Z", "2025-06-01T03:21:00Z"), "rounded outward")
    begin = int(datetime(2025, 6, 1, 3, 10, tzinfo=timezone.utc).timestamp())
    expected = sum(begin <= record["completed_at"] // 10**6 < begin + 660 for record in records)
    equal(sum(row["requests"] for row in answer["rows"]), expected, "requests in eleven minutes")
    # Only the 15m tier knows applications: then to the quarter of an hour.
    answer = api.usage({"from": "2025-06-01T03:10:20Z", "to": "2025-06-01T03:20:40Z", "granularity": "total", "group_by": "application"})
    equal((answer["from"], answer["to"]), ("2025-06-01T03:00:00Z", "2025-06-01T03:30:00Z"), "rounded to the tier")

    # Groups ascend by code point, absent last; an explicit order is tie-broken so.
    rows = api.rows(group_by="org,api,route", granularity="total", **PERIOD)
    keys = [(row["org"], row["api"], row["route"]) for row in rows]
    equal(keys, sorted(keys), "order of groups")
    ordered = api.rows(group_by="org,api,route", granularity="total", order="-requests", **PERIOD)
    equal(
        [(row["org"], row["api"], row["route"]) for row in ordered],
        [key for _, key in sorted(((-row["requests"], key) for row, key in zip(rows, keys)))], "order by requests, descending")
    limited = api.rows(group_by="org,api,route", granularity="total", order="-requests", limit="3", **PERIOD)
    equal(limited, ordered[:3], "limit counts rows")

    # A page in every format is the same table.
    question = [("group_by", "api,status"), ("granularity", "1d"), ("metrics", "requests,latency_p99"), *RANGE.items()]
    rows = api.usage(question)["rows"]
    text = api.call("GET", "/v1/usage", [*question, ("format", "csv")])
    check(text.headers["content-type"].startswith("text/csv"), f"content type {text.headers['content-type']}")
    table = list(csv.DictReader(io.StringIO(text.body.decode())))
    equal(len(table), len(rows), "rows as CSV")
    for left, right in zip(table, rows):
        equal((left["bucket"], left["api"], int(left["status"]), int(left["requests"]), float(left["latency_p99"])),
              (right["bucket"], right["api"], right["status"], right["requests"], right["latency_p99"]), "a row as CSV")
    lines = api.call("GET", "/v1/usage", [*question, ("format", "ndjson")]).body.decode().splitlines()
    equal([json.loads(line) for line in lines if line], rows, "rows as NDJSON")

    # Local days from the 15m tier; statuses are numbers, classes are text, durations are seconds.
    row = api.rows(group_by="status_class", granularity="total", metrics="requests,latency_max", **PERIOD)[0]
    equal(row["status_class"], "2xx", "status class")
    check(0 < row["latency_max"] < 60, f"latency_max in seconds: {row}")
    # Empty periods have no rows; `auto` picks a granularity and says which.
    equal(api.rows(from_="2001-01-01T00:00:00Z", to="2001-02-01T00:00:00Z", granularity="1d"), [], "an empty month")
    answer = api.usage({**RANGE, "granularity": "auto"})
    equal(answer["granularity"], "5m", "auto for a day: the finest with at most 300 buckets")
    # Errors as defined, from the records.
    errors = sum(
        1 for r in records if r.get("outcome") != "client_aborted"
        and (r.get("status", 0) >= 400 or r["outcome"].startswith("upstream_") or r["outcome"] == "gateway_error"))
    equal(api.total("errors", **PERIOD), errors, "errors")
    equal(api.total("aborted", **PERIOD), sum(r["outcome"] == "client_aborted" for r in records), "aborted")
    # Freshness: what is complete is not in the future.
    meta = api.call("GET", "/v1/meta").json()
    check({"rollups", "dimensions"} <= set(meta), f"/v1/meta has {sorted(meta)}")
