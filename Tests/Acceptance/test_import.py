"""Importing access logs: the numbers are those of an independent tool, however a file arrives."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from harness.checks import check, equal
from harness.combined_log import AccessLog, line, normal_offset, synthetic
from harness.context import Context
from harness.deployment import Up
from harness.query import QueryAPI
from harness.registry import test

STATUSES = {(200,): 9126, (304,): 445, (404,): 213, (301,): 164, (206,): 45, (500,): 3, (403,): 2, (416,): 2}
MAY = {"from_": "2015-05-01T00:00:00Z", "to": "2015-06-01T00:00:00Z"}
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]


def start_import(up: Up, *files: Path, org: str = "acme", api: str = "web", wait: bool = True) -> list[str]:
    """The arguments of an import."""
    flags = ["--wait"] if wait else []
    return ["import", "--config", str(up.config), "--format", "combined", "--org", org, "--api", api, *flags,
            *map(str, files)]


def check_log(api: QueryAPI, oracle: AccessLog, what: str, **parameters: object) -> None:
    """The numbers of the whole file."""
    equal(api.tally("status", **MAY, **parameters), by_status(oracle), f"{what}: requests by status")
    equal(api.total(**MAY, **parameters), 10_000, f"{what}: requests")
    total_bytes = oracle.one("SELECT sum(bytes)::BIGINT FROM log")[0]
    equal(api.total("bytes_out", **MAY, **parameters), total_bytes, f"{what}: bytes")


def by_status(oracle: AccessLog) -> dict[tuple[int], int]:
    """Requests by status, with keys as the query API's tallies have them."""
    return {(status,): count for status, count in oracle.tally("status").items()}


def buckets(api: QueryAPI, granularity: str, zone: str, **period: str) -> dict[tuple[str, int], tuple[int, int]]:
    """Requests and bytes by bucket and status, as the query API answers."""
    rows = api.rows(
        granularity=granularity, tz=zone, group_by="status", metrics="requests,bytes_out", **period)
    result = {}
    for row in rows:
        key = (row["bucket"], row["status"])
        check(key not in result, f"two rows for {key} in {zone} by {granularity}")
        result[key] = (row["requests"], row["bytes_out"])
    return result


@test(seconds=150, full_only=True)
def real_log(context: Context) -> None:
    """importing the real log gives exactly the numbers that DuckDB computes"""
    path, is_real = context.access_log()
    oracle = AccessLog(path)
    equal(oracle.one("SELECT count(*) FROM log")[0], 10_000, "lines that DuckDB reads")
    if is_real:
        equal(by_status(oracle), STATUSES, "DuckDB's own numbers")

    up = Up(context).start()
    api = up.api
    context.run(*start_import(up, path))
    # --wait has returned: everything is visible, without waiting here.
    check_log(api, oracle, "after import --wait")

    tally = api.tally("method", **MAY)
    equal({key[0]: value for key, value in tally.items()}, oracle.tally("method"), "requests by method")
    equal(api.tally("org,api", **MAY), {("acme", "web"): 10_000}, "requests by org and API")
    counts = {key[0]: count for key, count in by_status(oracle).items()}
    classes: dict[tuple[str], tuple[int, int, int]] = {}
    for status, count in counts.items():
        client, server = (count if status // 100 == digit else 0 for digit in (4, 5))
        old = classes.get((f"{status // 100}xx",), (0, 0, 0))
        classes[(f"{status // 100}xx",)] = (old[0] + client, old[1] + server, old[2] + client + server)
    equal(api.tally("status_class", "client_errors,server_errors,errors", **MAY), classes, "errors by class")
    some = {(status,): counts[status] for status in (404, 500)}
    equal(api.tally("status", filter=["status:in:404,500"], **MAY), some, "filter in")
    equal(api.total(filter=["status:ne:200"], **MAY), 10_000 - counts[200], "filter ne")
    heads = oracle.tally("method").get("HEAD", 0)
    equal(api.total(filter=["method:eq:HEAD", "api:eq:web"], **MAY), heads, "filters are ANDed")
    others = sum(count for method, count in oracle.tally("method").items() if method not in ("GET", "HEAD"))
    equal(api.total(filter=["method:nin:GET,HEAD"], **MAY), others, "filter nin")
    equal(api.total(filter=["api:prefix:we"], **MAY), 10_000, "filter prefix")
    equal(api.total(filter=["application:eq:"], **MAY), 10_000, "absent application is null, eq with nothing")
    equal(api.tally("application", **MAY), {(None,): 10_000}, "absent application")
    # A Combined log has no latency: unknown, not zero.
    row = api.rows(granularity="total", metrics="latency_avg,latency_p50,latency_p99,latency_min,latency_max", **MAY)[0]
    equal(set(row.values()), {None}, "latencies of a log without any")
    clients = oracle.one("SELECT count(DISTINCT client) FROM log")[0]
    estimate = api.total("unique_clients", **MAY)
    check(abs(estimate / clients - 1) < 0.05, f"unique_clients {estimate}, there are {clients}")
    # User agents by application are in no rollup: the refusal says what would cover them.
    problem = api.call(
        "GET", "/v1/usage", {"group_by": "user_agent,application", "from": MAY["from_"], "to": MAY["to"]}).problem(400)
    check("user_agent" in str(problem) and "application" in str(problem), f"the refusal does not name the dimensions: {problem}")

    for zone in ZONES:
        for granularity in ("15m", "1h", "1d", "1w", "1mo"):
            equal(buckets(api, granularity, zone, **MAY), oracle.buckets(granularity, zone), f"{granularity} in {zone}")
    for hour in (10, 11):
        period = {"from_": f"2015-05-17T{hour}:00:00Z", "to": f"2015-05-17T{hour + 1}:00:00Z"}
        for granularity in ("1m", "5m"):
            expected = {
                key: value for key, value in oracle.buckets(granularity, "UTC").items()
                if key[0].startswith(f"2015-05-17T{hour}:")}
            equal(buckets(api, granularity, "UTC", **period), expected, f"{granularity} from {hour}:00")

    # The order of rows: bucket, then status, ascending; and the same by POST.
    rows = api.rows(granularity="1d", group_by="status", metrics="requests", **MAY)
    keys = [(row["bucket"], row["status"]) for row in rows]
    equal(keys, sorted(keys), "order of rows")
    answer = api.call("POST", "/v1/usage", body={
        "from": MAY["from_"], "to": MAY["to"], "granularity": "1d", "group_by": ["status"], "metrics": ["requests"],
        "limit": 10_000})
    check(answer.status == 200, f"POST /v1/usage: {answer.status} {answer.body[:300]!r}")
    equal(answer.json()["rows"], rows, "POST with the same question")

    # The command line asks the same question.
    result = context.run(
        "query", "--config", up.config, "--from", MAY["from_"], "--to", MAY["to"], "--granularity", "total",
        "--group-by", "status", "--metrics", "requests", "--format", "csv")
    printed = {tuple(text.split(",")) for text in result.stdout.decode().split()}
    equal(printed, {("status", "requests")} | {(str(k[0]), str(v)) for k, v in by_status(oracle).items()}, "`sluice query --format csv`")
    up.database().check_rows()
    up.database().wait_compacted()
    up.database().check_tiers()
    check_log(api, oracle, "after compaction")


@test(seconds=240, full_only=True)
def repeated(context: Context) -> None:
    """a file counts once: again, half before whole, whole before half, gzipped, twice at a time, grown"""
    path, _ = context.access_log()
    oracle = AccessLog(path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    half = context.write("half.log", b"".join(lines[:5000]))
    grown = context.write("grown.log", b"".join(lines[:3000]))
    packed = context.write("packed.log.gz", gzip.compress(whole))
    members = context.write("members.log.gz", gzip.compress(b"".join(lines[:1234])) + gzip.compress(b"".join(lines[1234:])))
    copy = context.write("elsewhere/copy.log", whole)
    up = Up(context).start()
    api = up.api

    def both(*files: Path, name: str) -> None:
        """Two imports at the same time."""
        commands = [context.start(*start_import(up, file, api=name)) for file in files]
        for command in commands:
            equal(command.wait(90), 0, f"exit code of a simultaneous import: {command.output()[-500:]}")

    def after(what: str, name: str) -> None:
        check_log(api, oracle, what, filter=[f"api:eq:{name}"])

    context.run(*start_import(up, path, api="again"))
    context.run(*start_import(up, path, api="again"))
    after("imported twice", "again")
    context.run(*start_import(up, copy, api="again"))
    after("a copy under another name", "again")
    context.run(*start_import(up, packed, api="again"))
    context.run(*start_import(up, members, api="again"))
    after("gzipped", "again")

    context.run(*start_import(up, half, api="half-first"))
    equal(api.total(filter=["api:eq:half-first"], **MAY), 5000, "the first half")
    context.run(*start_import(up, path, api="half-first"))
    after("half, then whole", "half-first")
    context.run(*start_import(up, half, api="half-first"))
    after("half, whole, half", "half-first")

    context.run(*start_import(up, path, api="whole-first"))
    context.run(*start_import(up, half, api="whole-first"))
    after("whole, then half", "whole-first")

    context.run(*start_import(up, packed, api="packed-first"))
    after("gzipped alone", "packed-first")
    context.run(*start_import(up, path, api="packed-first"))
    after("gzipped, then plain", "packed-first")

    both(path, path, name="both")
    after("the same file twice at the same time", "both")
    both(packed, path, name="both-forms")
    after("plain and gzipped at the same time", "both-forms")
    both(half, path, name="both-halves")
    after("half and whole at the same time", "both-halves")

    seen = 0
    for end in (3000, 3001, 7777, 10_000):
        grown.write_bytes(b"".join(lines[:end]))
        context.run(*start_import(up, grown, api="grown"))
        equal(api.total(filter=["api:eq:grown"], **MAY), end, f"grown from {seen} to {end} lines")
        seen = end
    after("a file that has grown", "grown")

    # A line that is still being written is imported once it is whole.
    cut = len(b"".join(lines[:10])) + 40
    grown.write_bytes(whole[:cut])
    context.run(*start_import(up, grown, api="cut"))
    settled = api.total(filter=["api:eq:cut"], **MAY)
    check(settled in (10, 11), f"{settled} requests after 10 lines and a bit")
    equal(api.total(**MAY, filter=["api:eq:again"]), 10_000, "other imports are not touched")
    up.database().check_rows()


@test(seconds=90)
def odd_lines(context: Context) -> None:
    """odd lines are read right, and bad ones are shown in the dead letters"""
    at = 1_431_857_103
    good = [
        line(at, client="2001:db8::17", path="/ipv6"),
        line(at, client="::ffff:192.0.2.9", path="/mapped"),
        line(at, size=None, path="/dash"),
        line(at, size=0, path="/zero"),
        line(at, agent=r"an \"agent\" with \\ escapes", path="/escaped"),
        line(at, referrer=r"http://example.com/?q=\"x\"", path="/referrer"),
        line(at, client="host.example.com", path="/name"),
        line(at, path="/caf\u00e9?x=%20y"),
        line(at, method="PURGE", path="/cache"),
        line(at, offset="+0200", path="/zone"),
        line(at, offset="-0730", path="/zone"),
        line(at, size=99_999_999_999, path="/large"),
        # Garbage that servers log as it came: a request, answered 400.
        r'192.0.2.7 - - [17/May/2015:10:05:03 +0000] "\x16\x03\x01\x00" 400 226 "-" "-"',
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "-" 408 0 "-" "-"',
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "" 400 226 "-" "-"',
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /http09" 200 5 "-" "-"',
        '192.0.2.7 - frank [17/May/2015:10:05:03 +0000] "GET /with space/x HTTP/1.0" 200 5 "-" "-"',
        # Common Log Format inside a Combined log: no referrer, no agent.
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /common HTTP/1.1" 200 5',
        # The end of the line is missing, the request is not.
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /cut HTTP/1.1" 200 5 "-" "Mozilla/5.0 (compat',
    ]
    bad = [
        "this is no access log",
        '192.0.2.7 - - [45/Foo/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "-"',
        '192.0.2.7 - - [17/May/2015:99:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "-"',
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 99x 5 "-" "-"',
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 -5 "-" "-"',
        '192.0.2.7 - - [17/May/2015:10:05:03 +0000',
        "\x00\x01\x02 binary \x7f",
        "x" * 70_000,
    ]
    mixed = [*good, *bad]
    context.rng.shuffle(mixed)
    context.note_seed()
    # Windows line ends, empty lines, and bytes that are no UTF-8 are ordinary, too.
    latin = '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /latin-\u00e9 HTTP/1.1" 200 5 "-" "-"'.encode("latin-1")
    text = b"\r\n".join(each.encode() for each in mixed) + b"\r\n\r\n" + latin + b"\n"
    path = context.write("odd.log", text)
    up = Up(context).start()
    api = up.api
    result = context.run(*start_import(up, path))
    printed = (result.stdout + result.stderr).decode(errors="replace")
    check(str(len(bad)) in printed, f"the import does not say that {len(bad)} lines were bad: {printed[-600:]!r}")
    expected = len(good) + 1
    equal(api.total(**MAY), expected, "requests in good lines")
    statuses = {(200,): expected - 3, (400,): 2, (408,): 1}
    equal(api.tally("status", **MAY), statuses, "good lines by status")
    oracle = AccessLog(context.write("good.log", "\n".join(good) + "\n"))
    count, size = oracle.one("SELECT count(*), sum(bytes)::BIGINT FROM log")
    equal(count, len(good), "good lines that DuckDB reads")
    equal(api.total("bytes_out", **MAY), size + 5, "bytes in good lines")
    methods = {key[0]: value for key, value in api.tally("method", **MAY).items()}
    equal(methods.get("OTHER", 0) + methods.get(None, 0), 4, f"methods not in the fixed list: {methods}")
    # Offsets move the instant, not the count.
    hours = {row["bucket"][11:13] for row in api.rows(granularity="1h", metrics="requests", **MAY)}
    equal(hours, {"08", "10", "17"}, "hours after taking the offset away")
    letters = up.database().integer("SELECT count(*) FROM sluice.dead_letter")
    equal(letters, len(bad), "dead letters")
    reasons = up.database().rows("SELECT DISTINCT reason FROM sluice.dead_letter")
    check(all(reason[0] for reason in reasons), f"a dead letter without a reason: {reasons}")
    context.run(*start_import(up, path))
    equal(up.database().integer("SELECT count(*) FROM sluice.dead_letter"), len(bad), "dead letters after importing again")
    equal(api.total(**MAY), expected, "requests after importing again")
    status = context.run("status", "--config", up.config, "--format", "json").stdout.decode()
    check(str(len(bad)) in status, f"`sluice status` does not show the dead letters: {status[:800]}")


def local_bucket(at: int, granularity: str, zone: ZoneInfo) -> str:
    """The start of the bucket of an instant, by the rules of the query API, computed with zoneinfo."""
    instant = datetime.fromtimestamp(at, timezone.utc)
    local = instant.astimezone(zone)
    if granularity == "1h":
        # Before a change of the offset inside this hour, the bucket begins at the change.
        offset = local.utcoffset()
        first = at - (local.minute * 60 + local.second)
        while datetime.fromtimestamp(first, timezone.utc).astimezone(zone).utcoffset() != offset:
            first += 60
        return normal_offset(datetime.fromtimestamp(first, timezone.utc).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z"))
    day = local.date()
    if granularity == "1w":
        day -= timedelta(days=day.weekday())
    if granularity == "1mo":
        day = day.replace(day=1)
    # The first instant of that date: midnight, or what follows a missing one.
    first = int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()) - 15 * 3600
    while datetime.fromtimestamp(first, timezone.utc).astimezone(zone).date() < day:
        first += 900
    return normal_offset(datetime.fromtimestamp(first, timezone.utc).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z"))


@test(seconds=120)
def clock_changes(context: Context) -> None:
    """local hours and days are right where the clocks change, in half-hour zones, and without midnight"""
    context.note_seed()
    changes = {
        "Europe/Berlin": ["2015-03-29T01:00:00", "2015-10-25T01:00:00"],
        "America/New_York": ["2015-03-08T07:00:00", "2015-11-01T06:00:00"],
        "Australia/Lord_Howe": ["2015-04-04T15:00:00", "2015-10-03T15:30:00"],
        "America/Sao_Paulo": ["2015-10-18T03:00:00", "2015-02-22T02:00:00"],
        "Asia/Kathmandu": ["2015-06-01T00:00:00"],
        "Pacific/Apia": ["2011-12-30T10:00:00"],
    }
    times: list[int] = []
    spans: dict[str, list[tuple[int, int]]] = {}
    for zone, instants in changes.items():
        for text in instants:
            middle = int(datetime.fromisoformat(text + "+00:00").timestamp())
            spans.setdefault(zone, []).append((middle - 2 * 86400, middle + 2 * 86400))
            times += [middle + context.rng.randrange(-30 * 3600, 30 * 3600) for _ in range(400)]
            times += [middle + step * 450 for step in range(-24, 24)]
    times.sort()
    path = context.write("changes.log", synthetic(context.rng, times))
    up = Up(context).start()
    api = up.api
    context.run(*start_import(up, path))
    for zone, ranges in spans.items():
        for start, end in ranges:
            period = {
                "from_": datetime.fromtimestamp(start, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "to": datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for granularity in ("1h", "1d", "1w", "1mo"):
                expected: dict[str, int] = {}
                for at in times:
                    if start <= at < end:
                        bucket = local_bucket(at, granularity, ZoneInfo(zone))
                        expected[bucket] = expected.get(bucket, 0) + 1
                rows = api.rows(granularity=granularity, tz=zone, metrics="requests", **period)
                found = {row["bucket"]: row["requests"] for row in rows}
                # The first bucket may begin before `from`; its name is then still its own start.
                equal(found, expected, f"{granularity} in {zone} around {period['from_']}")
