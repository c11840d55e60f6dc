"""Rollups as a pure fold of the log: exact rows, order-independent, percentiles near the truth."""

from __future__ import annotations

import shutil
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import sketches
from harness.checks import check, equal, settles
from harness.context import Context
from harness.database import API_DIMENSIONS, ROLLUPS, TIER_SECONDS, Cluster
from harness.deployment import Roles, make_roles
from harness.registry import test

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
FIELDS = {
    "org": "org", "api": "api", "version": "api_version", "route": "route", "method": "method",
    "outcome": "outcome", "region": "region", "application": "application", "key": "key_id", "plan": "plan",
    "country": "country", "platform": "platform", "user_agent": "user_agent_family", "upstream": "upstream_address",
}


def load(
    context: Context, data: Path, records: int, seed: int, start: str, *, profile: str = "ten", step: int = 20_000,
    latency: str = "lognormal",
) -> None:
    """Writes seeded records into a data directory as one log."""
    context.run(
        "load", "--into", data, "--records", records, "--profile", profile, "--seed", seed, "--start", start,
        "--step", step, "--latency", latency, seconds=120)


def dimension(record: dict[str, Any], name: str) -> str:
    """A record's value of a dimension, as text; the empty string is absent."""
    if name == "status":
        return str(record.get("status", 0))
    if name == "status_class":
        return f"{record['status'] // 100}xx" if record.get("status") else ""
    if name.startswith("tag."):
        tags = record.get("tags", [])
        return next((tag["value"] for tag in tags if tag["key"] == name[4:]), "")
    return record.get(FIELDS[name], "")


def fold(records: list[dict[str, Any]], dimensions: list[str], tier: str) -> dict[tuple, dict[str, Any]]:
    """Our own fold, from the definitions of the measures: no code of the product's."""
    seconds = TIER_SECONDS[tier]
    groups: dict[tuple, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        completed = record["completed_at"] // 1_000_000
        key = (completed - completed % seconds, *(dimension(record, name) for name in dimensions))
        groups[key].append(record)
    rows = {}
    for key, members in groups.items():
        client = server = aborted = 0
        for record in members:
            status, outcome = record.get("status", 0), record.get("outcome", "")
            if outcome == "client_aborted":
                aborted += 1
            elif 400 <= status < 500:
                client += 1
            elif status >= 500 or outcome.startswith("upstream_") or outcome == "gateway_error":
                server += 1
        counts = {
            "requests": len(members), "client_errors": client, "server_errors": server, "aborted": aborted,
            "bytes_in": sum(record.get("request_bytes", 0) for record in members),
            "bytes_out": sum(record.get("response_bytes", 0) for record in members),
        }
        row: dict[str, Any] = {"key": key, "counts": counts}
        for name, field in (("latency", "duration_us"), ("upstream", "upstream_duration_us")):
            values = [record[field] for record in members if field in record]
            counts |= {
                f"{name}_count": len(values), f"{name}_sum": sum(values), f"{name}_min": min(values, default=0),
                f"{name}_max": max(values, default=0)}
            row[f"{name}_hist"] = sketches.histogram_of(values)
        row["clients"] = sketches.sketch_of(r["client_ip"] for r in members if r.get("client_ip"))
        if "key" not in dimensions:
            row["keys"] = sketches.sketch_of(r["key_id"] for r in members if r.get("key_id"))
        rows[key] = row
    return rows


@test(seconds=150, full_only=True)
def exact_rows(context: Context) -> None:
    """every row of the finest tiers equals a fold of the records written in Python"""
    context.note_seed()
    size = context.pick(quick=15_000, full=60_000)
    cluster, roles = make_roles(context, aggregator={"compact_interval": "300ms"})
    load(context, roles.data, size, context.seed % 1000, "2025-03-01T23:00:00Z", step=100_000)
    load(context, roles.data, size, context.seed % 999, "2025-03-02T00:30:00Z", step=70_000, profile="demo", latency="bimodal")
    load(context, roles.data, size // 4, context.seed % 998, "2025-03-02T12:00:00Z", step=70_000, profile="platform")
    roles.start_aggregator()
    total = 2 * size + size // 4
    settles(roles.database.requests, total, "requests folded", 60)
    roles.database.wait_compacted()
    records = context.requests_logged(roles.data)
    equal(len(records), total, "records in the logs")
    tables = roles.database.check_tiers()
    for rollup, (dimensions, tiers) in ROLLUPS.items():
        equal(tables[f"{rollup}_{tiers[0]}"], fold(records, dimensions, tiers[0]), f"rows of {rollup}_{tiers[0]}")
    roles.database.check_rows()
    # A sketch of few values is exact: distinct clients and keys of one API.
    roles.start_serve()
    period = {"from_": "2025-03-01T00:00:00Z", "to": "2025-03-04T00:00:00Z"}
    for metric, field in (("unique_clients", "client_ip"), ("unique_keys", "key_id")):
        expected = {record[field] for record in records}
        found = roles.api.total(metric, **period)
        check(abs(found / len(expected) - 1) < 0.05, f"{metric}: {found}, there are {len(expected)}")
    few = {record["key_id"] for record in records if record["api"] == "orders"}
    equal(round(roles.api.total("unique_keys", filter=["api:eq:orders"], **period)), len(few), "distinct keys of one API")
    cluster.stop()


@test(seconds=150)
def percentiles(context: Context) -> None:
    """percentiles lie within 1 % of nearest rank for log-normal, bimodal and constant latencies"""
    context.note_seed()
    size = context.pick(quick=20_000, full=120_000)
    cluster, roles = make_roles(context)
    roles.start_aggregator()
    roles.start_serve()
    days = {"lognormal": "2025-04-01", "bimodal": "2025-04-02", "constant": "2025-04-03"}
    for number, (shape, day) in enumerate(days.items()):
        load(context, roles.data, size, context.seed % 1000 + number, f"{day}T01:00:00Z", step=200_000, latency=shape)
    settles(roles.database.requests, 3 * size, "requests folded", 90)
    records = context.requests_logged(roles.data)
    metrics = [f"{kind}_{name}" for kind in ("latency", "upstream") for name in QUANTILES]
    metrics += ["latency_avg", "latency_min", "latency_max"]
    worst = 0.0

    def compare(row: dict[str, Any], members: list[dict[str, Any]], what: str) -> None:
        nonlocal worst
        for kind, field in (("latency", "duration_us"), ("upstream", "upstream_duration_us")):
            values = sorted(record[field] for record in members)
            for name, quantile in QUANTILES.items():
                exact = sketches.nearest_rank(values, quantile) / 1e6
                found = row[f"{kind}_{name}"]
                error = abs(found / exact - 1)
                worst = max(worst, error)
                check(error <= 0.01, f"{what}: {kind}_{name} is {found}, nearest rank {exact}: {error:.2%} off")
            if kind == "latency":
                equal(round(row["latency_min"] * 1e6), values[0], f"{what}: latency_min")
                equal(round(row["latency_max"] * 1e6), values[-1], f"{what}: latency_max")
                average = sum(values) / len(values) / 1e6
                check(abs(row["latency_avg"] / average - 1) < 1e-9, f"{what}: latency_avg {row['latency_avg']}, exact {average}")

    for shape, day in days.items():
        begin = int(datetime.fromisoformat(day + "T00:00:00+00:00").timestamp())
        mine = [record for record in records if begin <= record["completed_at"] // 10**6 < begin + 86_400]
        equal(len(mine), size, f"records of {shape}")
        period = {"from_": f"{day}T00:00:00Z", "to": f"{day}T23:59:00Z"}
        for granularity in ("total", "1h"):
            rows = roles.api.rows(granularity=granularity, group_by="route", metrics=",".join(metrics), **period)
            groups: dict[tuple, list[dict[str, Any]]] = defaultdict(list)
            for record in mine:
                hour = datetime.fromtimestamp(record["completed_at"] // 10**6, timezone.utc).strftime("%Y-%m-%dT%H:00:00Z")
                groups[(hour if granularity == "1h" else None, record["route"])].append(record)
            equal({(row.get("bucket"), row["route"]) for row in rows}, set(groups), f"{shape} {granularity}: groups")
            for row in rows:
                compare(row, groups[(row.get("bucket"), row["route"])], f"{shape} {granularity} {row}")
        row = roles.api.rows(granularity="total", metrics=",".join(metrics), **period)[0]
        compare(row, mine, f"{shape} as a whole")
    context.note(f"worst relative error {worst:.3%}")
    cluster.stop()


@test(seconds=240, full_only=True)
def any_order(context: Context) -> None:
    """one, two or three aggregators, in any order and batch size, make identical rows"""
    context.note_seed()
    size = context.pick(quick=10_000, full=30_000)
    source = context.make_directory()
    for number, profile in enumerate(["ten", "platform", "demo", "ten", "platform"]):
        # Overlapping times: the logs meet in the same rows.
        load(context, source, size, context.seed % 1000 + number, "2025-05-01T00:00:00Z", step=50_000, profile=profile)
    total = 5 * size
    cluster = Cluster(context.directory)
    variants = [
        (1, {"flush_records": 100_000, "compact_interval": "1s"}),
        (2, {"flush_records": 1_000, "flush_interval": "10ms", "compact_interval": "100ms"}),
        (3, {"flush_records": 7_777, "flush_interval": "50ms", "compact_interval": "333ms"}),
    ]
    if not context.quick:
        variants.append((1, {"flush_records": 501, "flush_interval": "10ms", "compact_interval": "2s"}))
    first: dict[str, Any] | None = None
    for number, (count, tuning) in enumerate(variants):
        database = cluster.create(f"variant{number}")
        roles = Roles(context, database, data=context.make_directory(), aggregator=tuning)
        roles.migrate()
        processes = [roles.start_aggregator() for _ in range(count)]
        # The logs arrive one by one, in an order of their own, while the aggregators run.
        logs = sorted((source / "log").iterdir(), key=lambda path: path.name)
        logs = [path for path in logs if path.is_dir()]
        context.rng.shuffle(logs)
        (roles.data / "log").mkdir(exist_ok=True, mode=0o700)
        for path in logs:
            staged = roles.data / f"staged-{path.name}"
            shutil.copytree(path, staged)
            staged.rename(roles.data / "log" / path.name)
        settles(database.requests, total, f"requests folded by {count} aggregators", 90)
        database.wait_compacted()
        equal(database.requests(), total, "requests after compaction")
        for process in processes:
            process.require_running()
            equal(process.terminate(), 0, "exit code of an aggregator after SIGTERM")
        database.check_rows()
        tables = database.check_tiers()
        if first is None:
            first = tables
            continue
        for name, rows in first.items():
            equal(tables[name], rows, f"{name} folded by {count} aggregators against one")
    check(first and all(first.values()), "nothing was compared")
    context.note(f"{total} records, {sum(map(len, first.values()))} rows alike in {len(variants)} variants")
    cluster.stop()


@test(seconds=120, full_only=True)
def bounded_keys(context: Context) -> None:
    """beyond the bound a bucket keeps the keys that come first by rank, whoever folds, and counts the rest"""
    context.note_seed()
    size, bound = context.pick(quick=8_000, full=30_000), 25
    source = context.make_directory()
    for number in range(2):
        load(context, source, size, context.seed % 1000 + number, "2025-07-01T10:00:00Z", step=60_000, profile="platform")
    records = context.requests_logged(source)
    cluster = Cluster(context.directory)
    dumps = []
    for number, count in enumerate((1, 2)):
        database = cluster.create(f"bounded{number}")
        data = context.make_directory()
        shutil.copytree(source / "log", data / "log")
        roles = Roles(
            context, database, data=data,
            aggregator={"keys_max": bound, "flush_records": 700 + 5000 * number, "flush_interval": "10ms", "compact_interval": "100ms"})
        roles.migrate()
        for _ in range(count):
            roles.start_aggregator()
        settles(database.requests, 2 * size, "requests folded", 60)
        database.wait_compacted()
        equal(database.requests(), 2 * size, "requests after compaction")
        database.check_rows()
        dumps.append({
            f"{rollup}_{tier}": database.dump(rollup, tier)
            for rollup, (_, tiers) in ROLLUPS.items() for tier in tiers})
        context.kill_all()
    for name, rows in dumps[0].items():
        equal(dumps[1][name], rows, f"{name} folded by two aggregators against one")
    displaced = 0
    for rollup, (dimensions, tiers) in ROLLUPS.items():
        for tier in tiers:
            exact = fold(records, dimensions, tier)
            groups: dict[tuple, list[tuple]] = defaultdict(list)
            for key in exact:
                groups[(key[0], key[1])].append(key)
            found = dumps[0][f"{rollup}_{tier}"]
            for (bucket, org), keys in groups.items():
                keys.sort(key=lambda key: sketches.key_rank(dimensions, key[1:]))
                kept, rest = keys[:bound], keys[bound:]
                mine = {key: row for key, row in found.items() if key[:2] == (bucket, org)}
                others = {key: row for key, row in mine.items() if "__other__" in key[2:]}
                plain = {key: row for key, row in mine.items() if key not in others}
                where = f"{rollup}_{tier}, bucket {bucket}, {org}"
                equal(plain, {key: exact[key] for key in kept}, f"{where}: rows that are kept")
                displaced += len(rest)
                equal(
                    sum(row["counts"]["requests"] for row in others.values()),
                    sum(exact[key]["counts"]["requests"] for key in rest), f"{where}: requests in __other__")
                check(len(others) == (1 if rest else 0), f"{where}: {len(others)} rows of __other__ for {len(rest)} keys")
    check(displaced > 100, f"only {displaced} keys were displaced: the test proves nothing")
    context.note(f"{displaced} keys displaced")
    cluster.stop()


@test(seconds=90)
def late_records(context: Context) -> None:
    """late records amend their own bucket, long after it was compacted"""
    context.note_seed()
    cluster, roles = make_roles(context, aggregator={"compact_interval": "200ms"})
    roles.start_aggregator()
    size = 5000
    for number in range(3):
        load(context, roles.data, size, context.seed % 1000 + number, "2024-02-29T23:50:00Z", step=1_000_000)
        settles(roles.database.requests, (number + 1) * size, "requests folded", 30)
        roles.database.wait_compacted()
    records = context.requests_logged(roles.data)
    tables = roles.database.check_tiers()
    equal(tables["api_1m"], fold(records, API_DIMENSIONS, "1m"), "rows of api_1m after three visits")
    cluster.stop()
