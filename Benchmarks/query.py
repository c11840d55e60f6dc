#!/usr/bin/env python3
"""Questions of a dashboard to the query API, over 90 days of rollup rows, at a steady rate (loopback, PostgreSQL of its own).

Usage: .venv/bin/python Benchmarks/query.py [--rows 10000000] [--organisations 10] [--rate 100] [--seconds 60] [--binary PATH] [--seed 7]

100 APIs of twelve (route, status) keys each with the default of rows, shared among the organisations: rollup api by quarters of an hour and by
days, the rollups that are narrower (total, summary, route, status) in all their tiers, minutes for the last day. A question is about one
organisation. Every question differs from all others, so nothing is answered from the cache; questions start at their time whether or not
earlier ones have been answered. Beside them DuckDB answers the same questions, counts only, over the same quarters of an hour of api, one
at a time. The last lines are a table in Markdown. It takes about as long as the rows need to be made (2 to 4 minutes), and the seconds twice.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import http.client
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests/Acceptance"))

import duckdb  # noqa: E402

from harness.checks import settles  # noqa: E402
from harness.context import Context  # noqa: E402
from harness.database import Cluster, Database  # noqa: E402
from harness.deployment import Roles  # noqa: E402

END = datetime(2026, 4, 1, tzinfo=timezone.utc)
DAYS = 90
KEYS = 12
METRICS = "requests,errors,latency_p50,latency_p95,latency_p99"
# What the dashboard's pages ask: the newest day most often, months seldom; charts have at most 180 points, tables are totals.
# Weight, hours back, granularity, grouping.
MIX = [
    (25, 24, "15m", ""), (15, 24, "total", ""), (10, 24, "total", "route"), (10, 24, "total", "status"), (5, 24, "15m", "status"),
    (10, 6, "5m", ""), (5, 6, "total", "api"), (8, 7 * 24, "1h", ""), (4, 7 * 24, "total", "route"), (4, 7 * 24, "1h", "api"),
    (2, 30 * 24, "1d", ""), (2, 90 * 24, "1d", ""),
]
WIDTHS = {"5m": "15 minutes", "15m": "15 minutes", "1h": "1 hour", "1d": "1 day", "total": "1 year"}
# The dimensions of a rollup's rows, and which of the twelve keys of each API they are made of.
KINDS = {
    "api": "org, api, 0, route, method, CASE k % 2 WHEN 0 THEN 200 ELSE 503 END, outcome, 0 WHERE true",
    "route": "org, api, route WHERE k % 2 = 0",
    "status": "org, api, CASE k % 2 WHEN 0 THEN 200 ELSE 503 END, outcome WHERE k < 2",
    "summary": "org, api WHERE k = 0",
    "total": "org WHERE k = 0 AND a < {organisations}",
}
Asked = tuple[dict[str, str], str, datetime, datetime]
ZONES = ["UTC", "UTC", "Europe/Berlin", "America/New_York"]


# As the embedded server, but for memory and for what makes filling fast.
SETTINGS = """shared_buffers = 2GB
work_mem = 16MB
maintenance_work_mem = 512MB
jit = off
max_parallel_workers_per_gather = 0
random_page_cost = 1.1
fsync = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 8GB
timezone = 'UTC'
"""


def fill(context: Context, roles: Roles, database: Database, rows: int, organisations: int) -> None:
    """Rows as a platform would leave them; latency histograms are real ones, of a seeded load."""
    context.run(
        "load", "--into", roles.data, "--records", 200_000, "--profile", "ten", "--seed", context.seed, "--start",
        "2025-03-01T10:00:00Z", "--step", "36000", seconds=120)
    process = roles.start_aggregator()
    settles(database.requests, 200_000, "requests folded", 120)
    database.wait_compacted()
    process.terminate()
    apis = max(1, round(rows / (DAYS * 96 * KEYS)))
    start = END - timedelta(days=DAYS)
    for statement in (
        "CREATE TABLE pool AS SELECT row_number() OVER (ORDER BY bucket, api, route) - 1 AS n, latency_hist AS h "
        "FROM sluice_g1.api_15m WHERE latency_count > 50 LIMIT 500",
        "ALTER TABLE pool ADD PRIMARY KEY (n)",
        "CREATE TABLE wide AS SELECT row_number() OVER (ORDER BY bucket, api) - 1 AS n, latency_hist AS h FROM sluice_g1.summary_1m",
        "ALTER TABLE wide ADD PRIMARY KEY (n)",
        *(f"INSERT INTO sluice.dimension (name, value) SELECT '{name}', '{name}-' || n FROM generate_series(0, {count - 1}) n "
          "ON CONFLICT DO NOTHING"
          for name, count in (("org", organisations), ("api", apis), ("route", 6))),
        "INSERT INTO sluice.dimension (name, value) VALUES ('method', 'GET'), ('outcome', 'ok') ON CONFLICT DO NOTHING",
        # As the compactor writes them: the rows of an organisation's bucket lie together.
        "CREATE TABLE keys AS SELECT a, k, "
        f"(SELECT id FROM sluice.dimension WHERE name = 'org' AND value = 'org-' || (a % {organisations})) AS org, "
        "(SELECT id FROM sluice.dimension WHERE name = 'api' AND value = 'api-' || a) AS api, "
        "(SELECT id FROM sluice.dimension WHERE name = 'route' AND value = 'route-' || k / 2) AS route, "
        "(SELECT id FROM sluice.dimension WHERE name = 'method' AND value = 'GET') AS method, "
        "(SELECT id FROM sluice.dimension WHERE name = 'outcome' AND value = 'ok') AS outcome "
        f"FROM generate_series(0, {apis - 1}) a, generate_series(0, {KEYS - 1}) k ORDER BY org, api, route, k",
        "VACUUM ANALYZE keys, pool, wide",
    ):
        database.rows(statement, 600)
    pools = {name: database.integer(f"SELECT count(*) FROM {name}") for name in ("pool", "wide")}
    with concurrent.futures.ThreadPoolExecutor(2) as workers:
        list(workers.map(lambda part: make(database, organisations, pools, *part), parts(start)))


def parts(start: datetime) -> list[tuple[str, str, datetime, datetime]]:
    """The partitions that are made: rollup, tier, start and end; the largest come first."""
    middle, day = start + timedelta(days=DAYS // 2), END - timedelta(days=1)
    made = [("api", "15m", start, middle), ("api", "15m", middle, END), ("api", "1m", day, END), ("api", "1d", start, END)]
    for rollup in ("route", "status", "summary", "total"):
        made += [(rollup, tier, day if tier == "1m" else start, END) for tier in ("15m", "1h", "1d", "1m")]
    return made


def make(
    database: Database, organisations: int, pools: dict[str, int], rollup: str, tier: str, begin: datetime, end: datetime,
) -> None:
    """Makes one partition."""
    parent = f"sluice_g1.{rollup}_{tier}"
    table = f"{parent}_{begin:%m%d}_bench"
    dimensions, condition = KINDS[rollup].format(organisations=organisations).split(" WHERE ")
    # A row of an hour or of many keys has seen more durations.
    pool = "wide" if rollup == "total" or (rollup != "api" and tier in ("1h", "1d")) else "pool"
    step = {"1m": "1 min", "15m": "15 min", "1h": "1 hour", "1d": "1 day"}[tier]
    zeros = "0, 0, 0, 0"
    # In one transaction with the table's creation, rows are not logged; the index comes afterwards, over all of them.
    database.rows(
        f"BEGIN; CREATE TABLE {table} (LIKE {parent}); "
        f"INSERT INTO {table} SELECT b, {dimensions}, 60 + k, k, k % 3, 0, 5000, 90000, 60 + k, 900000, 800, 250000, {zeros}, "
        f"(SELECT h FROM {pool} WHERE n = (extract(epoch FROM b)::bigint / 60 + k * 7 + a) % {pools[pool]}), '', '', '' "
        f"FROM generate_series('{begin}'::timestamptz, '{end}'::timestamptz - interval '{step}', '{step}') b "
        f"CROSS JOIN LATERAL (SELECT * FROM keys WHERE {condition} OFFSET 0) s; "
        f"ALTER TABLE {table} ADD CHECK (bucket >= '{begin}' AND bucket < '{end}'); "
        f"ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ('{begin}') TO ('{end}'); COMMIT", 1800)
    database.rows(f"VACUUM ANALYZE {table}", 600)


def questions(rng: random.Random, count: int, organisations: int) -> list[Asked]:
    """Different questions of the mix: parameters, kind, start and end."""
    made: dict[str, Asked] = {}
    while len(made) < count:
        _, hours, step, group = rng.choices(MIX, [weight for weight, *_ in MIX])[0]
        # The end moves by minutes within what the minutes' tier covers, so that no two questions are alike.
        end = END - timedelta(minutes=rng.randrange(0, 17 * 60 if hours <= 6 else 60))
        if hours > 24:
            end -= timedelta(minutes=end.minute)
        begin = max(end - timedelta(hours=hours), END - timedelta(days=DAYS if hours > 24 else 1))
        organisation = rng.randrange(organisations)
        parameters = {
            "from": begin.isoformat().replace("+00:00", "Z"), "to": end.isoformat().replace("+00:00", "Z"),
            "tz": rng.choice(ZONES), "granularity": step, "metrics": METRICS, "filter": f"org:eq:org-{organisation}",
            # Different bounds of a limit that is never reached make different questions of equal work.
            "limit": str(rng.randrange(5000, 10_000))}
        if group:
            parameters["group_by"] = group
        kind = f"{hours} h by {step}" + (f", {group}" if group else "")
        made.setdefault(urlencode(parameters), (parameters, kind, begin, end))
    return list(made.values())


def ask(port: int, token: str, asked: list, rate: float) -> tuple[list[float], collections.Counter, dict[str, list[float]]]:
    """Asks at a steady rate; latencies from when a question was due."""
    local: dict[int, http.client.HTTPConnection] = {}
    start = time.monotonic() + 0.5
    statuses: collections.Counter = collections.Counter()
    kinds: dict[str, list[float]] = collections.defaultdict(list)

    def one(number: int) -> float:
        parameters, kind, *_ = asked[number]
        due = start + number / rate
        delay = due - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        mine = threading.get_ident()
        connection = local.setdefault(mine, http.client.HTTPConnection("127.0.0.1", port, timeout=60))
        connection.request("GET", "/v1/usage?" + urlencode(parameters), headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        taken = time.monotonic() - due
        statuses[response.status] += 1
        kinds[kind].append(taken)
        return taken

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        return list(pool.map(one, range(len(asked)))), statuses, kinds


def quantile(values: list[float], share: float) -> float:
    """Nearest rank, in milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(name: str, values: list[float]) -> str:
    """A line of the table."""
    shown = " | ".join(f"{quantile(values, share):.1f}" for share in (0.5, 0.9, 0.99, 1))
    return f"| {name} | {len(values):,} | {shown} |"


def peer(database: Database, asked: list) -> tuple[list[float], int]:
    """DuckDB over the same quarters of an hour: counts by bucket and group, one question at a time."""
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory) / "rows.csv"
        with open(table, "wb") as target:
            subprocess.run(
                ["psql", "--no-psqlrc", "--quiet", f"--command=COPY (SELECT bucket AT TIME ZONE 'UTC' AS bucket, o.value AS org, "
                 "r.api, r.route, r.status, requests, client_errors + server_errors AS errors FROM sluice_g1.api_15m r "
                 f"JOIN sluice.dimension o ON o.id = r.org WHERE bucket >= '{END - timedelta(days=DAYS)}') TO STDOUT (FORMAT csv, HEADER)", database.uri],
                stdout=target, check=True)
        store = duckdb.connect(str(Path(directory) / "rows.duckdb"))
        store.execute(f"CREATE TABLE rows AS SELECT * FROM read_csv('{table}') ORDER BY bucket")
        count = store.execute("SELECT count(*) FROM rows").fetchone()[0]
        taken = []
        for parameters, _, begin, end in asked[:1000]:
            width = WIDTHS[parameters["granularity"]]
            group = parameters.get("group_by")
            column = f", {group}" if group else ""
            begun = time.monotonic()
            store.execute(
                f"SELECT time_bucket(INTERVAL '{width}', bucket) b{column}, sum(requests), sum(errors) FROM rows "
                f"WHERE org = ? AND bucket >= ? AND bucket < ? GROUP BY ALL ORDER BY ALL",
                [parameters["filter"].rpartition(":")[2], begin.replace(tzinfo=None), end.replace(tzinfo=None)]).fetchall()
            taken.append(time.monotonic() - begun)
        store.close()
        return taken, count


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_400_000)
    parser.add_argument("--organisations", type=int, default=10)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--binary", default=".build/release/sluice")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    context = Context(directory, Path(options.binary).resolve(), ROOT, False, options.seed, random.Random(options.seed))
    cluster = None
    try:
        cluster = Cluster(directory, SETTINGS)
        database = cluster.create("usage")
        roles = Roles(context, database)
        roles.migrate()
        begun = time.monotonic()
        fill(context, roles, database, options.rows, options.organisations)
        count = database.integer("SELECT count(*) FROM sluice_g1.api_15m")
        print(f"{count:,} rows of api by quarters of an hour, filled in {time.monotonic() - begun:.0f} s", flush=True)
        roles.start_serve()
        asked = questions(context.rng, int(options.rate * options.seconds) + 200, options.organisations)
        alone = []
        for parameters, *_ in asked[:200]:
            begun = time.monotonic()
            roles.api.usage(parameters)
            alone.append(time.monotonic() - begun)
        print(f"one at a time: p50 {quantile(alone[20:], .5):.1f} ms, p99 {quantile(alone[20:], .99):.1f}", flush=True)
        taken, statuses, kinds = ask(roles.query_port, roles.api.token, asked[200:], options.rate)
        load = Path("/proc/loadavg").read_text().split()[0]
        print(f"{len(taken)} questions at {options.rate:g}/s: {dict(statuses)}; load average {load}", flush=True)
        theirs, counted = peer(database, asked[200:])
        lines = [
            f"{count:,} rows of `api` by quarters of an hour, {DAYS} days, {options.organisations} organisations; "
            f"{len(taken):,} different questions at {options.rate:g}/s.", "",
            "| question | asked | p50 | p90 | p99 | worst |", "|---|---|---|---|---|---|",
            row("all", taken), row("all, one at a time", alone[20:]),
            *(row(kind, values) for kind, values in sorted(kinds.items(), key=lambda item: float(item[0].split()[0]))),
            row("DuckDB, one at a time, counts only", theirs), "", f"Milliseconds. DuckDB over {counted:,} rows.",
        ]
        print("\n".join(lines), flush=True)
    finally:
        context.kill_all()
        if cluster:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
