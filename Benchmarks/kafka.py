#!/usr/bin/env python3
"""Figures of the way through Kafka, on one machine with a real broker (noida-db; loopback only).

Usage: .venv/bin/python Benchmarks/kafka.py [--records 200000] [--rounds 3] [--probes 200] [--binary PATH] [--codec none]

  1. log to topic: `sluice pump` beside `kcat -P` with the same records, key, headers, acks and idempotence, in turn;
  2. topic to committed rollups: one aggregator, a topic that is full already;
  3. freshness: a request through the gateway until the query API counts it, under steady load.

A rate counts from the first message (or row) seen to the last, so it leaves out how long programs take to start.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests/Acceptance"))

from confluent_kafka import Consumer, TopicPartition  # noqa: E402

from harness.broker import Noida  # noqa: E402
from harness.checks import until  # noqa: E402
from harness.context import Context  # noqa: E402
from harness.database import Cluster  # noqa: E402
from harness.http import Client, request  # noqa: E402
from harness.kafka_roles import KafkaRoles  # noqa: E402
from harness.upstream import Upstream  # noqa: E402

PARTITIONS = 4
DELIMITER = b"<%s>" % random.Random(1).randbytes(6).hex().encode()


def rate(measure: Callable[[], int], total: int, seconds: float = 300) -> float:
    """Units per second between the first change of a measure and its reaching the total."""
    begin, first = 0.0, measure()
    deadline = time.monotonic() + seconds
    while True:
        now, value = time.monotonic(), measure()
        if value == first:
            begin = now  # so the first change lies after this
        elif value >= total:
            return (total - first) / (now - begin)
        if now > deadline:
            raise SystemExit(f"only {value} of {total} after {seconds:g} s")
        time.sleep(0.005)


class Ends:
    """How many messages a topic holds."""

    def __init__(self, broker: Noida, topic: str) -> None:
        self.topic = topic
        self.consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "bench", "log_level": 0})

    def __call__(self) -> int:
        pairs = (
            self.consumer.get_watermark_offsets(TopicPartition(self.topic, number), timeout=30)
            for number in range(PARTITIONS))
        return sum(high for _, high in pairs)


def to_topic(context: Context, broker: Noida, cluster: Cluster, options: argparse.Namespace) -> KafkaRoles:
    """Log to topic, beside kcat; leaves a deployment whose topic is full."""
    properties = {"compression.type": options.codec}
    pairs = []
    for number in range(options.rounds):
        topic = f"pump-{number}"
        roles = KafkaRoles(
            context, cluster.create(f"usage{number}"), broker,
            kafka={"topic": topic, "partitions": PARTITIONS, "client": properties})
        roles.migrate()
        # One log for each partition's worth, as several lanes would make them.
        for lane in range(4):
            context.run(
                "load", "--into", roles.data, "--records", options.records // 4, "--profile", "platform", "--seed",
                options.seed + lane, "--start", "2025-03-01T10:00:00Z", "--step", "2000", seconds=300)
        broker.create_topic(PARTITIONS, topic)
        pump = context.start("pump", "--config", str(roles.config), environment=roles.environment)
        ours = rate(Ends(broker, topic), options.records)
        pump.terminate()

        values = context.directory / "values"
        if not values.exists():
            # Without a group: noida-db may not name a coordinator before the first group has joined.
            read = subprocess.run(
                ["kcat", "-C", "-b", broker.address, "-t", topic, "-o", "beginning", "-e", "-q", "-D", DELIMITER.decode()],
                stdout=subprocess.PIPE, check=True, timeout=120).stdout
            found = [value for value in read.split(DELIMITER) if value]  # markers have none
            values.write_bytes(b"".join(value + DELIMITER for value in found))
            context.note(f"{len(found)} records, {values.stat().st_size // len(found) - len(DELIMITER)} bytes each")
        topic = f"kcat-{number}"
        broker.create_topic(PARTITIONS, topic)
        flags = [part for name, value in (properties | {
            "acks": "all", "enable.idempotence": "true", "linger.ms": "5", "queue.buffering.max.messages": "100000",
            "partitioner": "random", "sticky.partitioning.linger.ms": "10"}).items() for part in ("-X", f"{name}={value}")]
        head = [part for text in (
            "sluice-log=00000000-0000-0000-0000-000000000000", "sluice-offset=123456", "sluice-schema=1")
            for part in ("-H", text)]
        with open(values, "rb") as source:
            kcat = subprocess.Popen(
                ["kcat", "-P", "-b", broker.address, "-t", topic, "-D", DELIMITER.decode(),
                 *head, *flags], stdin=source, stderr=subprocess.DEVNULL)
            theirs = rate(Ends(broker, topic), options.records * 99 // 100)
            kcat.wait()
        pairs.append((ours / theirs, ours, theirs))
        print(f"round {number}: pump {ours:,.0f} records/s, kcat {theirs:,.0f}, ratio {ours / theirs:.2f}", flush=True)
    _, ours, theirs = sorted(pairs)[len(pairs) // 2]
    print(f"log to topic: {ours:,.0f} records/s; kcat -P {theirs:,.0f}: ratio {ours / theirs:.2f} (median pair)", flush=True)
    return roles


def to_rollups(context: Context, roles: KafkaRoles, options: argparse.Namespace) -> None:
    """Topic to committed rollups."""
    def folded() -> int:
        return roles.database.integer(
            "SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM sluice.source, unnest(folded) r WHERE generation = 1")

    roles.settings["aggregator"] = {}
    roles.save()
    process = roles.start_aggregator()
    found = rate(folded, options.records)
    process.terminate()
    print(f"topic to committed rollups (platform): {found:,.0f} records/s", flush=True)


def freshness(context: Context, broker: Noida, cluster: Cluster, options: argparse.Namespace) -> None:
    """Request to visible in a query."""
    upstream = Upstream()
    upstream.ask("forget")
    apis = [
        {"id": name, "org": "acme", "listen_path": f"/{name}/", "upstreams": [upstream.url]} for name in ("load", "probe")]
    apis += [{"id": "orders", "org": "acme", "listen_path": "/orders/", "upstreams": [upstream.url]}]
    roles = KafkaRoles(
        context, cluster.create("fresh"), broker, {"apis": apis}, aggregator={}, kafka={"topic": "fresh"})
    roles.migrate()
    roles.start_serve()
    roles.start_gateway()
    roles.start_pump()
    roles.start_aggregator()
    load = context.start(
        "load", "--url", f"http://127.0.0.1:{roles.gateway_port}", "--rate", str(options.rate), "--duration",
        f"{options.probes}s", "--connections", "8", "--seed", "7")
    rows = {"group_by": "api", "filter": "api:eq:probe", "metrics": "requests", "granularity": "total"}

    def seen() -> int:
        found = roles.api.rows(**rows)
        return found[0]["requests"] if found else 0

    taken = []
    for number in range(options.probes + 3):
        with Client(roles.gateway_port) as client:
            start = time.monotonic()
            client.send(request("GET", f"/probe/{number}?n=10"))
            client.read()
        until(lambda: seen() > number, f"probe {number} is visible", 60, 0.002)
        if number >= 3:  # the first ones wait for the group
            taken.append(time.monotonic() - start)
        time.sleep(random.random() * 0.1)  # at any moment of the aggregator's rhythm
    load.kill()
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)]
    print(
        f"freshness at {options.rate} requests/s: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst "
        f"{taken[-1] * 1000:.0f} ms ({len(taken)} probes)", flush=True)
    roles.stop_all()


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--codec", default="none")
    parser.add_argument("--binary", default=".build/release/sluice")
    options = parser.parse_args()
    options.records -= options.records % 4
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    context = Context(directory, Path(options.binary).resolve(), ROOT, False, options.seed, random.Random(options.seed))
    cluster = None
    try:
        broker, cluster = Noida(context), Cluster(directory)
        roles = to_topic(context, broker, cluster, options)
        to_rollups(context, roles, options)
        freshness(context, broker, cluster, options)
        for note in context.notes:
            print(note)
    finally:
        context.kill_all()
        if cluster:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
