#!/usr/bin/env python3
"""Figures of the way through Kafka, on one machine with a real broker (noida-db; loopback only).

Usage: .venv/bin/python Benchmarks/kafka.py [--records 2400000] [--rounds 6] [--folds 2] [--probes 150] [--codec none]
       [--linger 5] [--binary PATH] [--only topic,rollups,freshness]

  1. log to topic: `sluice pump` and `kcat -P` in turn, each round into topics of its own and the other way round than
     the one before. Both send the same records in the same order, with the same keys and partitioner, as many headers,
     acks=all, idempotence, codec, linger, batch size and queue. kcat reads them from a file that was made of the log's
     segments. Time counts from the start of the program until the broker has every message; processor time is the
     program's own.
  2. topic to committed rollups: one aggregator, a topic that is full already, each round into a database of its own.
     Time counts from the first commit seen to the last.
  3. freshness: a request through the gateway until the query API counts it, under steady load.

The defaults take about five minutes. A figure is the median of its rounds; a ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
LOGS = 16
TICKS = os.sysconf("SC_CLK_TCK")
# Between two messages, and between key and value: no record holds them by chance.
BETWEEN = b"<%s>" % random.Random(1).randbytes(6).hex().encode()
WITHIN = b"=%s=" % random.Random(2).randbytes(4).hex().encode()


def processor_seconds(pid: int) -> float:
    """What a running process has used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_for(measure: Callable[[], int], total: int, pause: float, seconds: float = 300) -> list[tuple[float, int]]:
    """Looks at a measure until it has reached a total; what was seen, and when."""
    seen = []
    deadline = time.monotonic() + seconds
    while True:
        value = measure()
        seen.append((time.monotonic(), value))
        if value >= total:
            return seen
        if seen[-1][0] > deadline:
            raise SystemExit(f"only {value} of {total} after {seconds:g} s")
        time.sleep(pause)


class Ends:
    """How many messages a topic holds."""

    def __init__(self, broker: Noida, topic: str) -> None:
        self.topic = topic
        self.consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "bench", "log_level": 0})

    def __call__(self) -> int:
        pairs = (
            self.consumer.get_watermark_offsets(TopicPartition(self.topic, number), timeout=60)
            for number in range(PARTITIONS))
        return sum(high for _, high in pairs)


# Records ----------------------------------------------------------------------------------------


def values(log: Path) -> Iterator[bytes]:
    """The records of a whole log, as `docs/formats/segment.md` describes its segments."""
    for segment in sorted(log.glob("*.log")):
        data = segment.read_bytes()
        at = 4096
        while data[at:at + 4] == b"SLFR":
            kind, size, count = struct.unpack_from("<5xB2xII", data, at)
            inside = at + 72
            for _ in range(count if kind == 1 else 0):
                length = int.from_bytes(data[inside:inside + 4], "little")
                yield data[inside + 4:inside + 4 + length]
                inside += 4 + length
            at += size


def make_input(data: Path, into: Path) -> tuple[int, float]:
    """Writes kcat's input: the logs in turn, as the pump takes them; returns the records and the bytes of one."""
    open_ = {log.name.encode(): values(log) for log in sorted((data / "log").iterdir()) if log.is_dir()}
    count = size = 0
    with open(into, "wb") as out:
        while open_:
            for name, rest in list(open_.items()):
                taken = list(itertools.islice(rest, 4_000))
                if not taken:
                    del open_[name]
                for value in taken:
                    if BETWEEN in value or WITHIN in value:
                        raise SystemExit("a record holds a delimiter")
                    out.write(name + WITHIN + value + BETWEEN)
                    size += len(value)
                count += len(taken)
    return count, size / count


def fill(context: Context, data: Path, options: argparse.Namespace) -> None:
    """Makes the logs, as several lanes of several gateways would."""
    for lane in range(LOGS):
        context.run(
            "load", "--into", data, "--records", options.records // LOGS, "--profile", "platform", "--seed",
            options.seed + lane, "--start", "2025-03-01T10:00:00Z", "--step", "2000", seconds=300)


# Log to topic -----------------------------------------------------------------------------------


@dataclass
class Sent:
    """One program's way through all records."""

    rate: float
    program: float  # processor time per record, µs
    broker: float


def client_properties(options: argparse.Namespace) -> dict[str, str]:
    """What both producers are told; `acks` and idempotence the pump has by itself."""
    return {
        "compression.type": options.codec, "linger.ms": str(options.linger), "batch.size": "1000000",
        "batch.num.messages": "10000", "queue.buffering.max.messages": "100000", "queue.buffering.max.kbytes": "65536",
    }


def send_with_pump(
    context: Context, broker: Noida, roles: KafkaRoles, number: int | str, options: argparse.Namespace,
) -> Sent:
    """The pump, with a sink that has delivered nothing yet."""
    topic = f"pump-{number}"
    broker.create_topic(PARTITIONS, topic)
    ends = Ends(broker, topic)
    ends()
    roles.settings["kafka"] |= {"topic": topic}
    roles.settings["pump"] = {"sinks": [{"name": topic, "type": "kafka"}]}
    roles.save()
    used = processor_seconds(broker.pid)
    begin = time.monotonic()
    pump = context.start("pump", "--config", str(roles.config), environment=roles.environment)
    # An end marker of each log as well.
    end = wait_for(ends, options.records + LOGS, 0.02)[-1][0]
    sent = Sent(
        options.records / (end - begin), processor_seconds(pump.pid) / options.records * 1e6,
        (processor_seconds(broker.pid) - used) / options.records * 1e6)
    pump.terminate()
    return sent


def send_with_kcat(context: Context, broker: Noida, source: Path, number: int, options: argparse.Namespace) -> Sent:
    """kcat, with the settings of the pump."""
    topic = f"kcat-{number}"
    broker.create_topic(PARTITIONS, topic)
    ends = Ends(broker, topic)
    ends()
    properties = client_properties(options) | {
        "acks": "all", "enable.idempotence": "true", "message.timeout.ms": "0", "partitioner": "murmur2_random"}
    flags = [part for name, value in properties.items() for part in ("-X", f"{name}={value}")]
    headers = [part for text in (
        "sluice-log=00000000-0000-0000-0000-000000000000", "sluice-offset=123456", "sluice-schema=1",
        "sluice-delivery=1234567890")
        for part in ("-H", text)]
    used, before = processor_seconds(broker.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    with open(source, "rb") as stdin:
        child = subprocess.Popen(
            ["kcat", "-P", "-b", broker.address, "-t", topic, "-D", BETWEEN.decode(), "-K", WITHIN.decode(),
             *headers, *flags], stdin=stdin, stderr=subprocess.DEVNULL, env=context.environment(broker.environment))
    try:
        end = wait_for(ends, options.records, 0.02)[-1][0]
        child.wait(60)
    finally:
        child.kill()
        child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sent(
        options.records / (end - begin), own / options.records * 1e6,
        (processor_seconds(broker.pid) - used) / options.records * 1e6)


def to_topic(
    context: Context, roles: KafkaRoles, source: Path, options: argparse.Namespace,
) -> list[str]:
    """Log to topic, beside kcat: a broker for each pair, which starts empty. The first pair only warms up."""
    pairs = []
    for number in range(options.rounds + 1):
        broker = Noida(context)
        roles.broker = broker
        roles.settings["kafka"] |= {"brokers": [broker.address]}
        if number % 2:
            ours = send_with_pump(context, broker, roles, number, options)
            theirs = send_with_kcat(context, broker, source, number, options)
        else:
            theirs = send_with_kcat(context, broker, source, number, options)
            ours = send_with_pump(context, broker, roles, number, options)
        broker.kill()
        shutil.rmtree(broker.directory)
        print(
            f"pair {number}: pump {ours.rate:,.0f} records/s, {ours.program:.2f} µs (broker {ours.broker:.2f}); "
            f"kcat {theirs.rate:,.0f}, {theirs.program:.2f} µs ({theirs.broker:.2f}); "
            f"ratio {ours.rate / theirs.rate:.2f}", flush=True)
        if number:
            pairs.append((ours, theirs))
    ratios = sorted(ours.rate / theirs.rate for ours, theirs in pairs)

    def median(pick: Callable[[tuple[Sent, Sent]], float]) -> float:
        return statistics.median(map(pick, pairs))

    return [
        f"| log to topic | {median(lambda pair: pair[0].rate):,.0f} records/s beside "
        f"{median(lambda pair: pair[1].rate):,.0f} of `kcat -P`: ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} pairs) |",
        f"| processor time of a record on the way | pump {median(lambda pair: pair[0].program):.2f} µs, kcat "
        f"{median(lambda pair: pair[1].program):.2f} µs, the broker {median(lambda pair: pair[0].broker):.2f} µs |",
    ]


# Topic to rollups -------------------------------------------------------------------------------


def to_rollups(
    context: Context, broker: Noida, cluster: Cluster, roles: KafkaRoles, options: argparse.Namespace,
) -> list[str]:
    """Topic to committed rollups: the figure is the aggregator's, so the topic is full before."""
    topic = "pump-full"
    roles.settings["kafka"] |= {"brokers": [broker.address]}
    send_with_pump(context, broker, roles, "full", options)
    rates, own, database = [], [], []
    for number in range(options.folds):
        fresh = KafkaRoles(
            context, cluster.create(f"fold{number}"), broker,
            kafka={"topic": topic, "group": f"fold-{number}", "partitions": PARTITIONS}, aggregator={})
        fresh.migrate()

        def folded() -> int:
            return fresh.database.integer(
                "SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM sluice.source, unnest(folded) r "
                "WHERE generation = 1")

        process = fresh.start_aggregator()
        seen = wait_for(folded, options.records, 0.02)
        first = next(index for index, (_, value) in enumerate(seen) if value)
        # The first batch was read before its commit was seen.
        (begin, already), (end, _) = seen[first], seen[-1]
        if end > begin:
            rates.append((options.records - already) / (end - begin))
        own.append(processor_seconds(process.pid) / options.records * 1e6)
        process.kill()
        print(
            f"fold {number}: {options.records / (end - seen[0][0]):,.0f} records/s from its start, "
            f"{rates[-1]:,.0f} from the first commit on, {own[-1]:.2f} µs", flush=True)
    broker.delete_topic(topic)
    return [
        f"| topic to committed rollups, `platform` | {statistics.median(rates):,.0f} records/s "
        f"({min(rates):,.0f} to {max(rates):,.0f} in {len(rates)} rounds); {statistics.median(own):.2f} µs of the "
        f"aggregator's processor time each |",
    ]


# Freshness --------------------------------------------------------------------------------------


def freshness(context: Context, broker: Noida, cluster: Cluster, options: argparse.Namespace) -> list[str]:
    """Request to visible in a query."""
    upstream = Upstream()
    upstream.ask("forget")
    apis = [
        {"id": name, "org": "acme", "listen_path": f"/{name}/", "upstreams": [upstream.url]}
        for name in ("load", "probe", "orders")]
    roles = KafkaRoles(
        context, cluster.create("fresh"), broker, {"apis": apis}, aggregator={}, kafka={"topic": "fresh"})
    roles.migrate()
    roles.start_serve()
    roles.start_gateway()
    roles.start_pump()
    roles.start_aggregator()
    load = context.start(
        "load", "--url", f"http://127.0.0.1:{roles.gateway_port}", "--rate", str(options.rate), "--duration",
        f"{60 + options.probes * 2}s", "--connections", "8", "--seed", "7")
    rows = {"group_by": "api", "filter": "api:eq:probe", "metrics": "requests", "granularity": "total"}

    def seen() -> int:
        found = roles.api.rows(**rows)
        return found[0]["requests"] if found else 0

    taken = []
    for number in range(options.probes + 5):
        load.require_running()
        with Client(roles.gateway_port) as client:
            start = time.monotonic()
            client.send(request("GET", f"/probe/{number}?n=10"))
            client.read()
        until(lambda: seen() > number, f"probe {number} is visible", 60, 0.005)
        if number >= 5:  # the first ones wait for the group
            taken.append(time.monotonic() - start)
        time.sleep(random.random() * 0.1)  # at any moment of the aggregator's rhythm
    load.kill()
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)]
    roles.stop_all()
    return [
        f"| request to the query that counts it, at {options.rate} requests/s | p50 {p50 * 1000:.0f} ms, p99 "
        f"{p99 * 1000:.0f} ms, longest {taken[-1] * 1000:.0f} ms ({len(taken)} probes) |",
    ]


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=2_400_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--probes", type=int, default=150)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--codec", default="none")
    parser.add_argument("--linger", type=int, default=5)
    parser.add_argument("--binary", default=".build/release/sluice")
    parser.add_argument("--only", default="topic,rollups,freshness")
    options = parser.parse_args()
    options.records -= options.records % LOGS
    only = options.only.split(",")
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    context = Context(directory, Path(options.binary).resolve(), ROOT, False, options.seed, random.Random(options.seed))
    cluster = None
    began = time.monotonic()
    rows = []
    try:
        broker, cluster = Noida(context), Cluster(directory)
        if "topic" in only or "rollups" in only:
            roles = KafkaRoles(
                context, cluster.create("pump"), broker,
                kafka={"partitions": PARTITIONS, "client": client_properties(options)})
            fill(context, roles.data, options)
            source = directory / "input"
            options.records, size = make_input(roles.data, source)
            print(f"{options.records:,} records of {size:.0f} bytes, {time.monotonic() - began:.0f} s", flush=True)
        if "topic" in only:
            rows += to_topic(context, roles, source, options)
        if "rollups" in only:
            rows += to_rollups(context, broker, cluster, roles, options)
        if "freshness" in only:
            rows += freshness(context, broker, cluster, options)
        print(f"\n| what, {options.records:,} records, codec {options.codec} | figure |\n|---|---|")
        print("\n".join(rows))
        print(f"\n({time.monotonic() - began:.0f} s)")
    finally:
        context.kill_all()
        if cluster:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
