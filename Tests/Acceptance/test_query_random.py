"""Random questions: every answer equals what DuckDB computes from the records of the logs."""

from __future__ import annotations

import json
import socket
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from harness.checks import check, equal
from harness.context import Context
from harness.deployment import make_roles
from harness.registry import test

# Two days around changes of clocks: New York, Berlin, Lord Howe (half an hour, both ways), Berlin and New York back.
STARTS = ["2025-03-08T12:00:00Z", "2025-03-29T12:00:00Z", "2025-04-04T23:00:00Z", "2025-10-03T23:00:00Z",
          "2025-10-25T12:00:00Z", "2025-11-01T12:00:00Z"]
ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu", "America/St_Johns"]
# Column of the records by dimension.
COLUMNS = {
    "org": "org", "api": "api", "version": "api_version", "route": "route", "method": "method", "status": "status",
    "status_class": "status_class", "outcome": "outcome", "region": "region", "application": "application",
    "key": "key_id", "plan": "plan", "country": "country", "platform": "platform", "user_agent": "user_agent_family",
    "upstream": "upstream_address",
}
# What some rollup has together.
TOGETHER = [
    ["org", "api", "version", "route", "method", "status", "status_class", "outcome", "region"],
    ["org", "api", "version", "route", "application", "key", "plan", "status_class"],
    ["org", "api", "upstream", "outcome"], ["org", "api", "country", "platform"], ["org", "api", "user_agent"],
    ["org", "api"],
]
ANYTHING = len(TOGETHER)  # Dimensions that no rollup need have together.
MINUTES = (0, 2, 5, ANYTHING)  # Indices of TOGETHER whose rollup has minutes.
ERROR = "(outcome <> 'client_aborted' AND (coalesce(status, 0) >= 400 OR outcome LIKE 'upstream_%' OR outcome = 'gateway_error'))"
CLIENT = f"({ERROR} AND status BETWEEN 400 AND 499)"
METRICS = {
    "requests": "count(*)", "errors": f"count(*) FILTER (WHERE {ERROR})",
    "client_errors": f"count(*) FILTER (WHERE {CLIENT})",
    "server_errors": f"count(*) FILTER (WHERE {ERROR} AND NOT coalesce({CLIENT}, false))",
    "error_rate": f"count(*) FILTER (WHERE {ERROR}) / count(*)",
    "aborted": "count(*) FILTER (WHERE outcome = 'client_aborted')",
    "bytes_in": "sum(coalesce(request_bytes, 0))", "bytes_out": "sum(coalesce(response_bytes, 0))",
}
for _kind, _column in (("latency", "duration_us"), ("upstream", "upstream_duration_us")):
    METRICS |= {f"{_kind}_{name}": f"{function}({_column}) / 1e6" for name, function in (("avg", "avg"), ("min", "min"), ("max", "max"))}
    METRICS |= {
        f"{_kind}_p{name}": f"quantile_disc({_column}, {quantile}) / 1e6"
        for name, quantile in (("50", 0.5), ("90", 0.9), ("95", 0.95), ("99", 0.99), ("999", 0.999))}
ADDITIVE = ["requests", "errors", "client_errors", "server_errors", "aborted", "bytes_in", "bytes_out"]


def instant(text: str) -> int:
    """Unix seconds of RFC 3339."""
    return int(datetime.fromisoformat(text).timestamp())


@lru_cache(maxsize=1 << 20)
def offset(zone: str, time: int) -> int:
    """Seconds ahead of UTC."""
    return int(datetime.fromtimestamp(time, ZoneInfo(zone)).utcoffset().total_seconds())


def change(zone: str, low: int, high: int) -> int:
    """The first second of the offset that holds at `high`, which is another than at `low`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if offset(zone, middle) == offset(zone, high) else (middle, high)
    return high


def first_instant(zone: str, day: date) -> int:
    """The first second of a local date."""
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())
    # Early enough to lie before it in any zone; local time then passes midnight in steps that are looked for.
    low, high = midnight - 50_400 - 86_400, midnight + 50_400
    candidates = []
    at = low
    while at < high:
        shift = offset(zone, at)
        end = high if offset(zone, high) == shift else change(zone, at, high)
        start = max(at, midnight - shift)
        if start < end:
            candidates.append(start)
        at = end
    return min(candidates)


@lru_cache(maxsize=1 << 20)
def bucket(zone: str, granularity: str, time: int) -> int:
    """The start of the bucket that holds a second."""
    step = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}.get(granularity)
    if step:
        shift = offset(zone, time)
        start = (time + shift) // step * step - shift
        # A change of offset within starts a bucket of its own.
        return start if offset(zone, start) == shift else change(zone, start, time)
    local = datetime.fromtimestamp(time, ZoneInfo(zone)).date()
    if granularity == "1w":
        local -= timedelta(days=local.weekday())
    elif granularity == "1mo":
        local = local.replace(day=1)
    return first_instant(zone, local)


def name_of(zone: str, time: int) -> str:
    """A bucket's start as the contract writes it."""
    if zone == "UTC":
        return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return datetime.fromtimestamp(time, ZoneInfo(zone)).isoformat()


def condition(text: str) -> tuple[str, list[Any]]:
    """A filter as SQL over the records, where absent is the empty text."""
    dimension, operator, value = text.split(":", 2)
    column = f"coalesce(CAST({COLUMNS[dimension]} AS VARCHAR), '')"
    if operator in ("in", "nin"):
        values = value.split(",")
        return f"{column} {'NOT ' if operator == 'nin' else ''}IN ({', '.join('?' * len(values))})", values
    if operator == "prefix":
        return f"({column} <> '' AND starts_with({column}, ?))", [value]
    return f"{column} {'=' if operator == 'eq' else '<>'} ?", [value]


def make_question(context: Context, values: dict[str, list[str]], spans: list[tuple[int, int]]) -> dict[str, Any]:
    """A question that some rollup covers, or that raw records have to answer."""
    rng = context.rng
    which = rng.choice([*range(len(TOGETHER)), ANYTHING])
    dimensions = list(COLUMNS) if which == ANYTHING else TOGETHER[which]
    low, high = rng.choice(spans)
    start = rng.randrange(low - 3600, high)
    zone = rng.choice(ZONES)
    finer = ["1m", "5m"] if which in MINUTES else []
    granularity = rng.choice(["15m", "1h", "1h", "1d", "1d", "1w", "1mo", "total", *finer])
    longest = 7200 if granularity in ("1m", "5m") else high + 3600 - start
    end = start + rng.randrange(1, max(2, min(longest, high + 3600 - start)))
    filters = []
    for _ in range(rng.choice([0, 0, 1, 2])):
        dimension = rng.choice(dimensions)
        known = [*values[dimension], ""]
        operator = rng.choice(["eq", "ne", "in", "nin", "prefix"])
        if operator in ("in", "nin"):
            value = ",".join(v for v in rng.sample(known, min(len(known), 3)) if "," not in v and "\\" not in v)
        elif operator == "prefix":
            value = rng.choice(known)[: rng.randrange(1, 6)]
        else:
            value = rng.choice(known)
        filters.append(f"{dimension}:{operator}:{value}")
    return {
        "from": name_of("UTC", start), "to": name_of("UTC", end), "tz": zone, "granularity": granularity,
        "group_by": ",".join(rng.sample(dimensions, rng.randrange(0, 3))), "filter": filters,
        "metrics": ",".join(rng.sample(list(METRICS), rng.randrange(1, 7))), "limit": "10000",
    }


def flat(question: dict[str, Any]) -> list[tuple[str, str]]:
    """The question as parameters."""
    pairs = []
    for name, value in question.items():
        pairs += [(name, each) for each in value] if isinstance(value, list) else [(name, value)]
    return pairs


@test(seconds=300, full_only=True)
def random_questions(context: Context) -> None:
    """200 random questions get DuckDB's answers: zones, changes of clocks, filters, groups, percentiles; rollups and records"""
    import duckdb

    context.note_seed()
    size = context.pick(quick=2_500, full=6_000)
    _, roles = make_roles(context, records={"retain": "36000d"})
    roles.start_aggregator()
    roles.start_serve()
    profiles = ["ten", "demo", "platform"]
    for number, start in enumerate(STARTS):
        context.run(
            "load", "--into", roles.data, "--records", size, "--profile", profiles[number % 3], "--seed",
            context.seed % 1000 + number, "--start", start, "--step", 2 * 86_400_000_000 // size, seconds=120)
    records = context.requests_logged(roles.data)
    equal(len(records), size * len(STARTS), "records in the logs")
    roles.api.wait_total(len(records), "records loaded", 90, from_="2025-01-01T00:00:00Z", to="2026-01-01T00:00:00Z")

    fields = sorted(set(COLUMNS.values()) - {"status", "status_class"}) + ["request_bytes", "response_bytes"]
    lines = Path(context.directory) / "records.ndjson"
    with open(lines, "w", encoding="utf-8") as file:
        for record in records:
            row = {field: record.get(field) for field in fields}
            status = record.get("status")
            row |= {
                "second": record["completed_at"] // 1_000_000, "status": status,
                "status_class": f"{status // 100}xx" if status else None,
                "duration_us": record.get("duration_us"), "upstream_duration_us": record.get("upstream_duration_us")}
            file.write(json.dumps(row) + "\n")
    types = {field: "VARCHAR" for field in fields} | {
        "second": "BIGINT", "status": "INTEGER", "status_class": "VARCHAR", "duration_us": "BIGINT",
        "upstream_duration_us": "BIGINT", "request_bytes": "BIGINT", "response_bytes": "BIGINT"}
    database = duckdb.connect()
    shape = ", ".join(f"{name}: '{kind}'" for name, kind in types.items())
    database.execute(f"CREATE TABLE records AS FROM read_json('{lines}', format = 'newline_delimited', columns = {{{shape}}})")
    values = {
        dimension: [str(row[0]) for row in database.execute(
            f"SELECT DISTINCT {column} v FROM records WHERE {column} IS NOT NULL ORDER BY v LIMIT 30").fetchall()] or ["x"]
        for dimension, column in COLUMNS.items()}
    spans = [(instant(start), instant(start) + 2 * 86_400) for start in STARTS]

    rows_compared, from_records, worst = 0, 0, 0.0
    for number in range(200):
        question = make_question(context, values, spans)
        answer = roles.api.usage(flat(question))
        where = f"question {number}: {question}"
        from_records += answer["rollup"] == "records"
        begin, end = instant(answer["from"]), instant(answer["to"])
        asked = (instant(question["from"]), instant(question["to"]))
        check(begin <= asked[0] and end >= asked[1], f"{where}: read {answer['from']} to {answer['to']}")
        check(asked[0] - begin < 900 and end - asked[1] < 900, f"{where}: rounded too far")
        zone, granularity = question["tz"], question["granularity"]
        names = [name for name in question["group_by"].split(",") if name]
        metrics = question["metrics"].split(",")
        conditions, parameters = ["second >= ?", "second < ?"], [begin, end]
        for text in question["filter"]:
            sql, more = condition(text)
            conditions.append(sql)
            parameters += more
        where_sql = " AND ".join(conditions)
        keys = [COLUMNS[name] for name in names]
        if granularity == "total":
            source = f"(SELECT 0 AS b, * FROM records WHERE {where_sql})"
        else:
            seconds = [row[0] for row in database.execute(f"SELECT DISTINCT second FROM records WHERE {where_sql}", parameters).fetchall()]
            database.execute("CREATE OR REPLACE TEMP TABLE buckets (second BIGINT, b BIGINT)")
            if seconds:
                database.execute(
                    "INSERT INTO buckets SELECT unnest(?), unnest(?)",
                    [seconds, [bucket(zone, granularity, second) for second in seconds]])
            source = f"(SELECT b, r.* FROM records r JOIN buckets USING (second) WHERE {where_sql})"
        columns = ["b", *keys]
        found = database.execute(
            f"SELECT {', '.join(columns + [METRICS[metric] for metric in metrics])} FROM {source} GROUP BY {', '.join(columns)}",
            parameters).fetchall()

        def place(row: tuple) -> tuple:
            """Bucket, then groups by code point, absent last."""
            return (row[0], *((value is None, value if isinstance(value, int) else str(value)) for value in row[1:1 + len(keys)]))

        found.sort(key=place)
        check(len(found) < 10_000, f"{where}: too many rows for one page")
        equal(len(answer["rows"]), len(found), f"{where}: rows")
        for row, expected in zip(answer["rows"], found):
            label = None if granularity == "total" else name_of(zone, expected[0])
            equal((row.get("bucket"), *(row[name] for name in names)), (label, *expected[1:1 + len(names)]), f"{where}: key")
            for metric, exact in zip(metrics, expected[1 + len(names):]):
                got = row[metric]
                if exact is None or got is None:
                    equal(got, exact, f"{where}: {metric} of {row}")
                    continue
                if "_p" in metric:
                    error = abs(got - exact) / exact if exact else abs(got)
                    worst = max(worst, error)
                    check(error <= 0.01, f"{where}: {metric} of {row} is {error:.2%} from {exact}")
                elif metric in ADDITIVE:
                    equal(got, exact, f"{where}: {metric} of {row}")
                else:
                    check(abs(got - exact) <= 1e-9 * max(1, abs(exact)), f"{where}: {metric} of {row}, exact {exact}")
        rows_compared += len(found)

        # The sum of the parts, by groups and by buckets, is the total over the same range.
        parts = question | {"from": answer["from"], "to": answer["to"], "metrics": ",".join(ADDITIVE)}
        # Without groups another source may answer, one that rounds further: a rollup has what the records have.
        whole_answer = roles.api.usage(flat(parts | {"granularity": "total", "group_by": ""}))
        whole = whole_answer["rows"]
        rows = roles.api.usage(flat(parts | {"from": whole_answer["from"], "to": whole_answer["to"]}))["rows"]
        total = {name: sum(row[name] for row in rows) for name in ADDITIVE}
        equal(total, {name: whole[0][name] if whole else 0 for name in ADDITIVE}, f"{where}: parts and total")
    check(rows_compared > 1_000, f"only {rows_compared} rows were compared")
    check(from_records >= 5, f"only {from_records} questions were answered from raw records")
    context.note(f"{rows_compared} rows compared, {from_records} questions from raw records; worst percentile {worst:.3%} off")


@test(seconds=120)
def exports(context: Context) -> None:
    """limit=none streams every row in constant memory; pages one after the other are the same rows"""
    context.note_seed()
    size = context.pick(quick=15_000, full=80_000)
    _, roles = make_roles(context, records={"retain": "36000d"})
    roles.start_aggregator()
    serve = roles.start_serve()
    context.run(
        "load", "--into", roles.data, "--records", size, "--profile", "platform", "--seed", context.seed % 1000,
        "--start", "2025-03-29T12:00:00Z", "--step", 2 * 86_400_000_000 // size, seconds=120)
    roles.api.wait_total(size, "records loaded", 60, from_="2025-03-01T00:00:00Z", to="2025-04-30T00:00:00Z")
    question = {
        "from": "2025-03-01T00:00:00Z", "to": "2025-04-30T00:00:00Z", "granularity": "15m", "metrics": "requests,latency_p99",
        "group_by": "org,api,route,application,key"}

    def resident() -> int:
        """The server's memory in bytes."""
        status = Path(f"/proc/{serve.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    roles.api.usage(question)
    before = resident()
    answer = roles.api.call("GET", "/v1/usage", question | {"format": "ndjson", "limit": "none"}, seconds=60)
    equal(answer.status, 200, "status of the export")
    lines = answer.body.splitlines()
    grown = resident() - before
    check(len(lines) > size // 2, f"only {len(lines)} rows of {size} records")
    equal(sum(json.loads(line)["requests"] for line in lines), size, "requests in the export")
    check(grown < 48 << 20, f"the server grew by {grown >> 20} MiB for {len(answer.body) >> 20} MiB")
    # Pages, which may be of any size, are the same rows.
    paged, cursor, sent = [], {}, {}
    for _ in range(6):
        sent = cursor
        page = roles.api.call("GET", "/v1/usage", question | {"format": "ndjson", "limit": "1777"} | cursor)
        equal(page.status, 200, "status of a page")
        paged += page.body.splitlines()
        if "sluice-next" not in page.headers:
            break
        cursor = {"cursor": page.headers["sluice-next"]}
    equal(paged, lines[:len(paged)], "rows of the pages")
    # What has not changed is not sent again.
    tag = page.headers["etag"]
    same = roles.api.call(
        "GET", "/v1/usage", question | {"format": "ndjson", "limit": "1777"} | sent, headers={"If-None-Match": tag})
    equal((same.status, same.body), (304, b""), "the same page once more")
    context.note(f"{len(lines)} rows, {len(answer.body) >> 20} MiB, {grown >> 20} MiB more memory")
    # Raw records in the same way: each once.
    before = resident()
    period = {"from": question["from"], "to": question["to"], "format": "ndjson", "limit": "none"}
    answer = roles.api.call("GET", "/v1/records", period, seconds=60)
    equal(answer.status, 200, "status of the export of records")
    lines = answer.body.splitlines()
    grown = resident() - before
    equal(len({(record["log_id"], record["offset"]) for record in map(json.loads, lines)}), size, "records in the export")
    equal(len(lines), size, "lines of the export")
    check(grown < 24 << 20, f"the server grew by {grown >> 20} MiB for {len(answer.body) >> 20} MiB of records")
    context.note(f"{size} records, {len(answer.body) >> 20} MiB, {grown >> 20} MiB more memory")
    # A reader that goes away in the middle ends its answer and not the server.
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", roles.query_port), timeout=30) as line:
            line.sendall(
                f"GET /v1/records?{urlencode(period)} HTTP/1.1\r\nHost: api\r\n"
                f"Authorization: Bearer {roles.api.token}\r\n\r\n".encode())
            check(line.recv(1024).startswith(b"HTTP/1.1 200"), "the export begins")
    answer = roles.api.call("GET", "/v1/records", period, seconds=60)
    equal((answer.status, len(answer.body.splitlines())), (200, size), "the export after readers that went away")
    serve.require_running()
