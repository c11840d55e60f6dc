"""Rollups rebuilt from the logs beside the live ones, killed on the way, compared, and put right."""

from __future__ import annotations

import gzip
import json
import time
from datetime import datetime
from typing import Any

from harness.broker import Noida
from harness.checks import check, equal, settles, until
from harness.context import Context
from harness.database import ROLLUPS
from harness.deployment import Roles, make_roles
from harness.kafka_roles import make_kafka_roles
from harness.registry import test
from test_rollups import fold, load


def replay(context: Context, roles: Roles, *options: str, code: int = 0) -> dict[str, Any]:
    """Runs `sluice replay --rollups` to its end; its summary."""
    result = context.run(
        "replay", "--rollups", *options, "--config", roles.config, "--format", "json", code=code,
        environment=roles.environment, seconds=90)
    rows = json.loads(result.stdout)
    return rows[0] if isinstance(rows, list) else rows


@test(seconds=180, full_only=True)
def rebuild(context: Context) -> None:
    """rollups rebuilt while counting goes on, killed at random, are the rows that the logs make; a wrong row is found and put right"""
    context.note_seed()
    size = context.pick(quick=2_000, full=4_000)
    kills = context.pick(quick=3, full=10)
    cluster, roles = make_roles(context, aggregator={"compact_interval": "300ms"})
    database = roles.database
    total = 0

    def add(start: str) -> None:
        nonlocal total
        load(context, roles.data, size, context.seed % 100_000 + total, start, step=100_000, profile="demo")
        total += size

    for hour in (10, 16, 22):
        add(f"2025-05-01T{hour}:50:00Z")
    roles.start_aggregator()
    roles.start_serve()
    settles(database.requests, total, "requests folded", 60)
    database.wait_compacted()
    before = database.check_tiers()

    # At rest: the same rows, in tables of a new generation.
    summary = replay(context, roles)
    equal(database.follow_generation(), 2, "generation after a rebuild")
    equal(int(summary["folded"]) >= total, True, f"folded, in {summary}")
    database.wait_compacted()
    equal(database.check_tiers(), before, "rows after a rebuild")

    # Counting goes on, and replays are killed.
    for number in range(kills):
        add(f"2025-05-{2 + number:02}T23:55:00Z")
        process = context.start("replay", "--rollups", "--config", str(roles.config), environment=roles.environment)
        time.sleep(context.rng.random())  # a random moment, not an event to wait for
        process.kill()
    replay(context, roles)
    generation = database.follow_generation()
    check(generation > 2, "the replays that were killed led to no new generation")
    settles(database.requests, total, "requests folded in the end", 60)
    database.wait_compacted()
    tables = database.check_tiers()
    database.check_rows()
    records = context.requests_logged(roles.data)
    equal(len(records), total, "records in the logs")
    for rollup, (dimensions, tiers) in ROLLUPS.items():
        equal(tables[f"{rollup}_{tiers[0]}"], fold(records, dimensions, tiers[0]), f"rows of {rollup}_{tiers[0]}")
    period = {"from_": "2025-05-01T00:00:00Z", "to": "2025-06-01T00:00:00Z"}
    equal(roles.api.total(**period), total, "requests in the query API")
    equal(
        database.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'sluice_g%'"), [[f"sluice_g{generation}"]],
        "schemas of generations")

    # A comparison finds nothing, then a planted row, which a rebuild puts right.
    summary = replay(context, roles, "--verify")
    equal(int(summary["rows_different"]), 0, f"differences, in {summary}")
    check(int(summary["rows_compared"]) > 100, f"too little was compared: {summary}")
    database.rows(f"UPDATE sluice_g{generation}.summary_1h SET requests = requests + 1 WHERE bucket = '2025-05-01 16:00Z'")
    replay(context, roles, "--verify", code=1)
    equal(database.follow_generation(), generation, "generation after a comparison")
    replay(context, roles)
    database.follow_generation()
    database.wait_compacted()
    equal(database.check_tiers(), tables, "rows after the repair")
    context.note(f"{total} records, {kills} replays killed, generation {database.generation}")
    cluster.stop()


@test(seconds=120)
def into_sink(context: Context) -> None:
    """records of a range that an archive has lost are delivered again, each once, whatever is killed; the pump's checkpoint stays"""
    archive, data = context.directory / "archive", context.directory / "data"
    config = context.directory / "replay-sink.json"
    config.write_text(json.dumps({
        "data": str(data), "pump": {"sinks": [
            {"name": "archive", "type": "file", "path": str(archive), "format": "ndjson", "compress": "gzip"}]}}))
    size = 3_000
    for day in (1, 2, 3):
        load(context, data, size, context.seed % 100_000 + day, f"2025-05-0{day}T06:00:00Z", step=10_000_000, profile="demo")

    def lines() -> list[tuple[str, int]]:
        found = []
        for file in archive.glob("records-*"):
            try:
                text = gzip.decompress(file.read_bytes())
            except EOFError:
                return []  # the pump is just writing
            for line in text.splitlines():
                record = json.loads(line)
                found.append((record["log_id"], record["offset"]))
        return sorted(found)

    def deliver(*options: str, code: int = 0) -> dict[str, Any]:
        result = context.run("replay", "--sink", "archive", *options, "--config", config, "--format", "json", code=code, seconds=90)
        return json.loads(result.stdout)[0] if code == 0 else {"error": result.stderr.decode()}

    def checkpoints() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in (data / "checkpoints/sink-archive").iterdir()}

    logged = context.log_records(data)
    every = sorted((r["log_id"], r["offset"]) for r in logged if "offset" in r)
    pump = context.start("pump", "--config", str(config))
    settles(lambda: len(lines()), len(every), "lines of the archive", 60)
    equal(pump.terminate(), 0, "exit code of the pump")
    equal(lines(), every, "lines of the archive")
    before = checkpoints()

    # Intact: nothing is missing. Wrong usage says what is wrong.
    summary = deliver("--from", "2025-05-01")
    equal((summary["delivered"], summary["present"]), (0, len(every)), f"records of {summary}")
    equal(lines(), every, "lines after a replay into an intact archive")
    check("nosuch" in context.run("replay", "--sink", "nosuch", "--from", "-1h", "--config", config, code=2).stderr.decode(), "no name")
    deliver("--rollups", "--from", "2025-05-01", code=2)
    deliver(code=2)

    # Everything lost: a part of it comes back, then the rest, killed on the way.
    for file in archive.glob("records-*"):
        file.unlink()
    middle = 1_746_187_200_000_000  # 2025-05-02T12:00:00Z
    early = sorted((r["log_id"], r["offset"]) for r in logged if "offset" in r and r["completed_at"] < middle)
    summary = deliver("--from", "2025-05-01", "--to", "2025-05-02T12:00:00Z")
    equal(lines(), early, f"records of the range, {summary}")
    equal(summary["delivered"], len(early), "delivered")
    for _ in range(3):
        process = context.start("replay", "--sink", "archive", "--from", "2025-05-01", "--config", str(config))
        time.sleep(context.rng.random() / 4)  # a random moment, not an event to wait for
        process.kill()
    summary = deliver("--from", "2025-05-01")
    equal(lines(), every, f"records in the end, {summary}")
    equal(checkpoints(), before, "checkpoints of the pump")


@test(seconds=120)
def into_topic(context: Context) -> None:
    """records of a range replayed into a broker are in the topic, none other is, and what was there before does not count twice"""
    context.note_seed()
    broker = Noida(context)
    cluster, roles = make_kafka_roles(context, broker)
    size = 1_000
    for day in (1, 2, 3):  # 10:00 to 10:00:20 on the 2nd, 3rd and 4th of March
        roles.load(size, context.seed % 100_000 + day, day)
    first, last = "2025-03-02T10:00:10Z", "2025-03-03T10:00:10Z"
    bounds = [int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1_000_000) for text in (first, last)]
    logged = [record for record in context.log_records(roles.data) if "offset" in record]
    wanted = {(r["log_id"], r["offset"]): r["kind"] for r in logged if bounds[0] <= r["completed_at"] < bounds[1]}
    check(size // 2 < len(wanted) < 2 * size, f"{len(wanted)} records are in the range")

    def deliver() -> dict[str, Any]:
        result = context.run(
            "replay", "--sink", "central", "--from", first, "--to", last, "--config", roles.config, "--format", "json",
            environment=roles.environment, seconds=60)
        return json.loads(result.stdout)[0]

    def found() -> list[tuple[str, int]]:
        return sorted(message.identity for message in broker.messages() if message.marker is None)

    def wait_consumed() -> None:
        """Waits until every message of the topic has been taken, so that no more can be counted."""
        until(lambda: roles.database.integer("SELECT sum(next_offset) FROM sluice.transport_offset")
              == len(broker.messages()), "every message is taken", 30, 0.2)

    # What the pump has not delivered is left to it.
    equal([int(deliver()[name]) for name in ("delivered", "pending")], [0, len(wanted)], "records before the pump")
    pump = roles.start_pump()
    roles.wait_shipped()
    equal(pump.terminate(), 0, "exit code of the pump")
    # The topic is lost; the range is delivered into a new one: it is there, once, and only it is there and counts.
    broker.delete_topic()
    broker.create_topic(4)
    summary = deliver()
    equal(found(), sorted(wanted), f"records in the topic, {summary}")
    equal(int(summary["delivered"]), len(wanted), "delivered")
    roles.start_aggregator()
    roles.wait_folded(sum(kind == "request" for kind in wanted.values()), "requests of the range")
    # Everything, the range once more among it: all counts once.
    first, last = "2025-03-01", "2025-03-31"
    everything = sorted((r["log_id"], r["offset"]) for r in logged if r["completed_at"] < bounds[1] + 10_000_000_000_000)
    summary = deliver()
    equal(found(), sorted(everything + list(wanted)), f"records in the topic after the second replay, {summary}")
    wait_consumed()
    roles.wait_folded(3 * size, "all requests")
    equal(roles.dead_letters(), {}, "dead letters")
    cluster.stop()
