"""What others find in the topic: kcat, a client in Python alone, and the example of the documentation."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys
from collections import Counter
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from harness.broker import TOPIC, Broker, Message, Noida, Tansu, kcat
from harness.checks import Failure, check, equal
from harness.context import Context
from harness.database import Cluster
from harness.kafka_roles import KafkaRoles
from harness.records import check_topic, encode, message
from harness.registry import test

FORMAT = "%p\\t%o\\t%K\\t%S\\t%h\\n"


def by_python(broker: Broker) -> list[Message]:
    """All messages, read by a client that shares no code with librdkafka."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker.address, auto_offset_reset="earliest", enable_auto_commit=False,
        consumer_timeout_ms=2000)
    try:
        consumer.assign([TopicPartition(TOPIC, number) for number in range(broker.topics()[TOPIC])])
        return [
            Message(each.partition, each.offset, each.timestamp, each.key, each.value, dict(each.headers))
            for each in consumer]
    finally:
        consumer.close()


def by_kcat(broker: Broker) -> Counter:
    """How often kcat finds each record, and each marker, by the headers."""
    lines = kcat(broker, "-C", "-t", TOPIC, "-o", "beginning", "-e", "-q", "-f", FORMAT).decode().splitlines()
    found: Counter = Counter()
    for line in lines:
        _, _, key_length, size, text = line.split("\t")
        headers = dict(pair.split("=", 1) for pair in text.split(","))
        equal(int(key_length), 36, f"length of the key in {line!r}")
        if "sluice-marker" in headers:
            equal(int(size), -1, f"length of the value of a marker in {line!r}")
            found[(headers["sluice-marker"], headers["sluice-log"], int(headers["sluice-offset"]))] += 1
        else:
            check(int(size) > 20, f"a record of {size} bytes: {line!r}")
            found[("record", headers["sluice-log"], int(headers["sluice-offset"]))] += 1
    return found


def example(context: Context, broker: Broker) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What examples/consume.py prints: records and its summary."""
    result = subprocess.run(
        [sys.executable, str(context.root / "examples/consume.py"), "--brokers", broker.address, "--until-end"],
        capture_output=True, timeout=60, env=context.environment(), check=False)
    if result.returncode != 0:
        raise Failure(f"examples/consume.py ended with {result.returncode}: {result.stderr[-800:].decode()}")
    return [json.loads(line) for line in result.stdout.splitlines()], json.loads(result.stderr.splitlines()[-1])


@test(seconds=180)
def readers(context: Context) -> None:
    """kcat, a client in Python alone and the example find each (log id, offset) at least once and no other"""
    context.note_seed()
    size = context.pick(quick=3_000, full=6_000)
    cluster = Cluster(context.directory)
    kinds: list[type[Broker]] = context.pick(quick=[Noida], full=[Tansu, Noida])
    for kind in kinds:
        broker = kind(context)
        roles = KafkaRoles(context, cluster.create(f"usage_{kind.kind}"), broker)
        roles.load(size, context.seed % 100_000, 1)
        roles.load(size // 2, context.seed % 100_000 + 1, 2)
        damage(context, roles)
        pump = roles.start_pump()
        roles.wait_shipped()
        # Again, from the start: everything is there twice now, and no reader may be misled by that.
        equal(pump.terminate(), 0, "exit code of the pump")
        pump = roles.start_pump("--reship-from", "2025-01-01T00:00:00Z")
        roles.wait_shipped()
        equal(pump.terminate(), 0, "exit code of the pump")
        logged = [record for record in context.log_records(roles.data) if "offset" in record]
        expected = {(record["log_id"], record["offset"]) for record in logged}
        check(len(expected) > size, f"only {len(expected)} records are left in the logs")

        ours = broker.messages()
        numbers = check_topic(ours, logged, f"{kind.kind}, librdkafka")
        context.note(f"{kind.kind}: {numbers}")
        check(numbers["repeated"] >= len(expected) // 2, "--reship-from sent hardly anything again")
        pure = by_python(broker)
        equal(check_topic(pure, logged, f"{kind.kind}, Python alone"), numbers, "what two clients find")
        equal(
            sorted((m.partition, m.position, m.timestamp, m.value or b"") for m in pure),
            sorted((m.partition, m.position, m.timestamp, m.value or b"") for m in ours), "messages of two clients")
        seen = by_kcat(broker)
        equal({key[1:] for key in seen if key[0] == "record"}, expected, f"{kind.kind}: records that kcat finds")

        # Markers: the offsets that damage took, and the ends.
        ends = {one.identity for one in ours if one.marker == "end"}
        equal({log for log, _ in ends}, {log for log, _ in expected}, f"{kind.kind}: logs with an end marker")
        skipped: dict[str, set[int]] = {}
        for one in ours:
            if one.marker == "skip":
                equal(one.text("sluice-reason"), "damaged", "reason of a skip marker")
                log, first = one.identity
                check(first < int(one.text("sluice-until")), f"an empty skip marker: {one.headers}")
                skipped.setdefault(log, set()).update(range(first, int(one.text("sluice-until"))))
        check(skipped, "no skip marker for a damaged batch")
        for log, end in ends:
            whole = {offset for other, offset in expected if other == log} | skipped.get(log, set())
            equal(len(whole), end, f"{kind.kind}: offsets of {log} that are a record or skipped, of its end {end}")
            check(not {o for o in skipped.get(log, set()) if (log, o) in expected}, "a record that is there is skipped")
        early = min(one.timestamp for one in ours if not one.marker)
        check(early > 1.7e12, f"timestamps are append times, not the times of the requests: {early}")

        # The example: each once, and it knows that the logs are whole. Strange messages do not disturb it.
        log = next(iter(expected))[0]
        broker.produce([
            {"value": b"\x00\xff nonsense"}, {"value": None, "key": b"x"},
            message(log, 1 << 33, b"\x08\x01\x12"), message(log, 7, encode(log, 8)), message("x", 1, b"")])
        printed, summary = example(context, broker)
        equal(Counter((r["log_id"], r["offset"]) for r in printed), Counter(expected), "records that the example prints")
        statuses = Counter(r.get("status") for r in logged)
        equal(Counter(r.get("status") for r in printed), statuses, "statuses that the example prints")
        equal(summary["strange"], 5, "messages that the example finds strange")
        equal(summary["skipped"], sum(map(len, skipped.values())), "offsets that the example knows to be skipped")
        equal({name: part["gaps"] for name, part in summary["logs"].items() if part["gaps"]}, {}, "gaps")
        equal({(name, part["end"]) for name, part in summary["logs"].items()}, ends, "ends of the logs")
    cluster.stop()


def damage(context: Context, roles: KafkaRoles) -> None:
    """Flips a bit in the middle of a log."""
    segment = max((roles.data / "log").rglob("*.log"), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    used = len(content.rstrip(b"\0"))
    content[context.rng.randrange(used // 4, used * 3 // 4)] ^= 1 << context.rng.randrange(8)
    segment.write_bytes(content)


@test(seconds=30)
def ranges(context: Context) -> None:
    """the example's set of ranges agrees with a plain set, over random insertions"""
    context.note_seed()
    spec = importlib.util.spec_from_file_location("consume", context.root / "examples/consume.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for case in range(300):
        rng = random.Random(f"{context.seed}/{case}")
        ours, plain = module.Ranges(), set()
        for _ in range(rng.randrange(1, 60)):
            start = rng.randrange(100)
            end = start + rng.choice([1, 1, 1, 2, 10])
            new = not set(range(start, end)) <= plain
            equal(ours.add(start, end), new, f"case {case}: whether [{start}, {end}) is new")
            plain |= set(range(start, end))
            covered = [offset for a, b in zip(ours.starts, ours.ends) for offset in range(a, b)]
            equal(covered, sorted(plain), f"case {case}: offsets after [{start}, {end})")
        missing = [offset for a, b in ours.gaps() for offset in range(a, b)]
        equal(missing, sorted(set(range(max(plain))) - plain), f"case {case}: gaps")


@test(seconds=30)
def documented(context: Context) -> None:
    """docs/consuming.md names the headers, reasons and files that there are"""
    text = (context.root / "docs/consuming.md").read_text()
    for name in ("sluice-log", "sluice-offset", "sluice-schema", "sluice-delivery", "sluice-marker", "sluice-until", "sluice-reason"):
        check(f"`{name}`" in text, f"docs/consuming.md does not explain {name}")
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        check((context.root / "docs" / link).exists(), f"docs/consuming.md points to {link}, which is not there")
