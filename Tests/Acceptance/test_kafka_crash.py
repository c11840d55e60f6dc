"""Pumps, aggregators and brokers that are killed, frozen, emptied or far away: exact afterwards."""

from __future__ import annotations

import gzip
import json
import signal
import time
from pathlib import Path
from typing import Any

from harness.broker import Broker, Noida, SlowLine, Tansu
from harness.checks import Failure, check, equal, until
from harness.context import Context
from harness.database import Cluster
from harness.kafka_roles import KafkaRoles, check_settled, make_kafka_roles, resident_bytes
from harness.records import check_topic
from harness.registry import test
from harness.traffic import Fleet, Worker, connections, perform
from harness.upstream import Upstream
from test_crash import check_counted, check_identities, check_ledger, relaxed

MEMORY_GROWTH_MAX = 48 << 20  # of a pump while records pile up; its readers' buffers are smaller than this


def paced(worker: Worker) -> None:
    """A steady load that leaves the machine some room: bursts at fixed times."""
    rng, due = worker.plan.rng, time.monotonic()
    for client in connections(worker):
        while worker.goes_on:
            burst = [worker.plan.plain() for _ in range(rng.choice([8, 16, 32]))]
            due += len(burst) / 250  # requests a second of this connection
            worker.sent += burst
            if not perform(client, burst):
                return
            with worker.completed.get_lock():
                worker.completed.value += len(burst)
            time.sleep(max(0.0, due - time.monotonic()))  # the load's own clock


def archive(path: Path, compress: str = "none", name: str = "archive") -> dict[str, Any]:
    """A file sink."""
    return {
        "name": name, "type": "file", "path": str(path), "compress": compress,
        "rotate": {"bytes": "1MiB"}, "retry": {"delay_max": "1s"}}


def archived(path: Path) -> list[dict[str, Any]]:
    """Every line of a file sink's files; a torn line is a failure."""
    lines: list[dict[str, Any]] = []
    for file in sorted(path.rglob("*.ndjson*")):
        data = file.read_bytes()
        if file.name.removesuffix(".part").endswith(".gz"):
            data = gzip.decompress(data)
        check(not data or data.endswith(b"\n"), f"{file.name} ends inside a line: {data[-80:]!r}")
        for number, line in enumerate(data.splitlines(), 1):
            try:
                lines.append(json.loads(line))
            except ValueError:
                raise Failure(f"{file.name}:{number} is no JSON: {line[:200]!r}") from None
    return lines


def check_archive(path: Path, logged: list[dict[str, Any]], what: str) -> int:
    """The files hold each record of the logs once, with its fields, and nothing else."""
    expected = {(record["log_id"], record["offset"]): record for record in logged if "offset" in record}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in archived(path):
        identity = (line["log_id"], line["offset"])
        check(identity not in found, f"{what}: {identity} is there twice")
        found[identity] = line
    missing = [identity for identity in expected if identity not in found]
    check(not missing, f"{what}: {len(missing)} of {len(expected)} records are not there: {missing[:4]}")
    foreign = [identity for identity in found if identity not in expected]
    check(not foreign, f"{what}: {len(foreign)} lines are no records of the logs: {foreign[:4]}")
    for identity, line in found.items():
        record = expected[identity]
        differing = {
            key for key in ("kind", "api", "status", "path", "outcome", "completed_at", "response_bytes")
            if line.get(key) != record.get(key)}
        check(not differing, f"{what}: {identity} differs in {sorted(differing)}: {line} instead of {record}")
    return len(found)


@test(seconds=280, full_only=True)
def kills(context: Context) -> None:
    """kill -9 of pump and aggregators at random under load: every number exact, every file whole"""
    context.note_seed()
    count = context.pick(quick=6, full=60)
    upstream = Upstream()
    upstream.ask("forget")
    broker = Tansu(context)
    files = context.directory / "archive"
    sinks = [{"name": "central", "type": "kafka", "retry": {"delay_max": "1s"}}, archive(files)]
    cluster, roles = make_kafka_roles(
        context, broker, relaxed(upstream, context), log={"segment_bytes": "4MiB"}, pump={"sinks": sinks})
    roles.start_serve()
    roles.start_gateway()
    pump = roles.start_pump()
    folders = [roles.start_aggregator(), roles.start_aggregator()]
    fleet = Fleet(context.directory, roles.gateway_port, context.seed, paced, processes=1, threads=4)
    killed = {"pump": 0, "aggregator": 0}
    for number in range(count):
        fleet.wait_completed(fleet.completed + context.rng.randrange(1, 900))
        if context.rng.random() < 0.5:
            killed["pump"] += 1
            pump.require_running()
            pump.kill()
            pump = roles.start_pump()
        else:
            killed["aggregator"] += 1
            victim = context.rng.randrange(2)
            folders[victim].require_running()
            folders[victim].kill()
            folders[victim] = roles.start_aggregator()
        if number % 20 == 19:
            # Now and then the group must come to rest and catch up, else only rebalances are tested.
            settled = fleet.completed
            until(lambda: roles.database.requests() >= settled, "the group folds in between", 60, 0.2)
    fleet.wait_completed(fleet.completed + 100)
    sent = fleet.finish()
    check(all(exchange.is_complete for exchange in sent), "a client noticed that something behind was killed")
    records = context.requests_logged(roles.data)
    context.note(f"killed {killed}: {check_identities(records, sent)}")
    roles.wait_folded(len(records), "requests in the end", 60)
    check_counted(roles.api, records, 10)
    stop_gateway(roles)
    roles.wait_shipped()
    roles.wait_shipped("archive")
    check_ledger(roles.database, context, roles.data)
    check_settled(roles, len(records))
    equal(pump.terminate(), 0, "exit code of the pump")
    logged = context.log_records(roles.data)
    context.note(f"topic: {check_topic(broker.messages(), logged, 'the topic')}")
    context.note(f"files: {check_archive(files, logged, 'the archive')} lines")
    equal(roles.dead_letters(), {}, "dead letters")
    cluster.stop()


def at_rest(roles: KafkaRoles) -> None:
    """Waits until no more requests are folded for half a second."""
    counts = [-1, -2, -3]

    def is_quiet() -> bool:
        counts.append(roles.database.requests())
        return counts[-1] == counts[-2] == counts[-3]

    until(is_quiet, "the aggregators have nothing to do", 30, 0.25)


def stop_gateway(roles: KafkaRoles) -> None:
    """Ends the gateway, so that its logs do not grow by heartbeats any more."""
    for process in roles.context.processes:
        if "gateway" in process.command and process.is_running:
            equal(process.terminate(), 0, "exit code of the gateway")


@test(seconds=120)
def files(context: Context) -> None:
    """kill -9 of a pump with file sinks, plain and gzipped: whole lines, each record once"""
    context.note_seed()
    size = context.pick(quick=20_000, full=60_000)
    cluster = Cluster(context.directory)
    broker = Noida(context)
    paths = {compress: context.directory / f"archive-{compress}" for compress in ("none", "gzip")}
    sinks = [
        archive(path, compress, f"file-{compress}") | {"batch": {"records": 200, "wait": "5ms"}}
        for compress, path in paths.items()]
    roles = KafkaRoles(context, cluster.create("usage"), broker, transport="local", pump={"sinks": sinks})
    kills_ = context.pick(quick=4, full=15)
    for number in range(kills_):
        roles.load(size // kills_, context.seed % 1_000_000 + number, number)
        pump = roles.start_pump()
        written = directory_bytes(*paths.values())
        goal = written + context.rng.randrange(1, 400_000)
        until(
            lambda: directory_bytes(*paths.values()) >= goal or roles.lag("file-none") == 0, "some lines written", 20, 0.01)
        pump.require_running()
        pump.kill()
    pump = roles.start_pump()
    for compress in paths:
        roles.wait_shipped(f"file-{compress}")
    equal(pump.terminate(), 0, "exit code of the pump")
    logged = context.log_records(roles.data)
    for compress, path in paths.items():
        context.note(f"{compress}: {check_archive(path, logged, compress)} records after {kills_} kills")
    cluster.stop()


def directory_bytes(*directories: Path) -> int:
    """Bytes of all files below."""
    total = 0
    for directory in directories:
        for path in directory.rglob("*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                pass  # renamed meanwhile
    return total


@test(seconds=200, full_only=True, alone=True)
def outage(context: Context) -> None:
    """the broker down while the gateway goes on: memory flat, clients notice nothing, the backlog drains fast"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    broker = Noida(context)
    cluster, roles = make_kafka_roles(context, broker, relaxed(upstream, context))
    gateway_process, pump = roles.start_gateway(), roles.start_pump()
    roles.start_aggregator()
    fleet = Fleet(context.directory, roles.gateway_port, context.seed, paced, processes=1, threads=4)
    fleet.wait_completed(1000)
    until(lambda: roles.database.requests() > 500, "the line works", 40)
    for way in context.pick(quick=["frozen", "stopped"], full=["stopped", "frozen"]):
        resident = {p: resident_bytes(p) for p in (pump, gateway_process)}
        if way == "frozen":
            broker.freeze()
        else:
            # This broker may lose what it acknowledged in its very last moment; that is another test.
            pump.signal(signal.SIGSTOP)
            at_rest(roles)
            broker.stop()
            pump.signal(signal.SIGCONT)
        before, began = fleet.completed, time.monotonic()
        # Traffic goes on, and a large log turns up beside it.
        load = context.pick(quick=30_000, full=80_000)
        roles.load(load, context.seed % 100_000 + before)
        fleet.wait_completed(before + context.pick(quick=2000, full=5000))
        arrival = (fleet.completed - before) / (time.monotonic() - began)
        grown = {p.command[1]: (resident_bytes(p) - old) >> 20 for p, old in resident.items()}
        context.note(f"{way}: {fleet.completed - before} requests at {arrival:.0f}/s, memory grew by {grown} MiB")
        check(
            max(grown.values()) <= MEMORY_GROWTH_MAX >> 20, f"memory while the broker is {way} grew by {grown} MiB")
        backlog = load + fleet.completed - before
        done = roles.database.requests()
        broker.thaw() if way == "frozen" else broker.start()
        drained = fleet.completed
        goal = done + backlog * 9 // 10
        # From the first record on: how long reconnecting takes is another matter, and bounded here.
        until(lambda: roles.database.requests() > done, f"folding again after the broker was {way}", 30, 0.02)
        start = time.monotonic()
        until(lambda: roles.database.requests() >= goal, f"the backlog of {backlog} is folded", 60, 0.02)
        taken = max(time.monotonic() - start, 0.001)
        rate = backlog * 0.9 / taken
        while_draining = (fleet.completed - drained) / (time.monotonic() - start)
        context.note(f"backlog of {backlog}: {rate:.0f}/s, {rate / max(arrival, while_draining):.0f} times the arrivals")
        check(rate > 3 * arrival, f"the backlog drains at {rate:.0f}/s, arrivals are {arrival:.0f}/s")
    sent = fleet.finish()
    check(all(exchange.is_complete for exchange in sent), "a client noticed that the broker was gone")
    records = context.requests_logged(roles.data)
    roles.wait_folded(len(records), "requests in the end", 40)
    pump.require_running()
    stop_gateway(roles)
    roles.wait_shipped()
    check_ledger(roles.database, context, roles.data)
    check_settled(roles, len(records))
    equal(roles.dead_letters(), {}, "dead letters")
    context.note(check_identities([r for r in records if r["path"].rsplit("/", 1)[-1].startswith("c")], sent))
    cluster.stop()


@test(seconds=200, full_only=True)
def emptied(context: Context) -> None:
    """the broker loses everything, or what it acknowledged last: `--reship-from` makes it whole, nothing counts twice"""
    context.note_seed()
    size = context.pick(quick=10_000, full=30_000)
    # One of the two a run, by the seed: each takes 40 s.
    kinds: list[type[Broker]] = [context.rng.choice([Tansu, Noida])]
    cluster = Cluster(context.directory)
    for kind in kinds:
        broker = kind(context)
        roles = KafkaRoles(context, cluster.create(f"usage_{kind.kind}"), broker)
        roles.migrate()
        pump, folder = roles.start_pump(), roles.start_aggregator()
        roles.load(size, context.seed % 100_000, 1)
        roles.wait_folded(size, "before the loss")
        # The aggregators stop; the broker acknowledges more, and loses it.
        equal(folder.terminate(), 0, "exit code of the aggregator")
        roles.load(size, context.seed % 100_000 + 1, 2)
        roles.wait_shipped()
        broker.kill()
        broker.start()
        folder = roles.start_aggregator()
        roles.load(size, context.seed % 100_000 + 2, 3)
        if not context.quick:
            # Without being told so, the pump ships what is new; what it had shipped before is not in the topic.
            # A broker that forgot its producers makes librdkafka try for ever: after 30 s the pump takes a new one.
            until(lambda: roles.database.requests() >= 2 * size, "what is new arrives", 60, 0.2)
            pump.require_running()
            roles.wait_shipped()
        equal(pump.terminate(), 0, "exit code of the pump")
        pump = roles.start_pump("--reship-from", "2025-01-01T00:00:00Z")
        roles.wait_folded(3 * size, f"{kind.kind}: after --reship-from")
        # Again, for nothing: everything is there twice and counts once.
        equal(pump.terminate(), 0, "exit code of the pump")
        pump = roles.start_pump("--reship-from", "-1d")
        roles.load(1000, context.seed % 100_000 + 3, 4)
        roles.wait_folded(3 * size + 1000, f"{kind.kind}: after another --reship-from")
        roles.wait_shipped()
        check_settled(roles, 3 * size + 1000)
        logged = context.log_records(roles.data)
        context.note(f"{kind.kind}: {check_topic(broker.messages(), logged, 'the topic')}")
        check_ledger(roles.database, context, roles.data)
        for process in (pump, folder):
            equal(process.terminate(), 0, "exit code")
    cluster.stop()


@test(seconds=120, full_only=True)
def far_away(context: Context) -> None:
    """a broker 120 ms away over a line that breaks every few seconds: exact, and no client waits for it"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    port = context.free_port()
    line = SlowLine(port, 0.06)
    broker = Tansu(context, advertised=port)
    line.lead_to(broker.port)
    cluster, roles = make_kafka_roles(context, broker, relaxed(upstream, context))
    roles.start_gateway()
    pump = roles.start_pump()
    folders = [roles.start_aggregator()]
    fleet = Fleet(context.directory, roles.gateway_port, context.seed, paced, processes=1, threads=4)
    cuts = 0
    for _ in range(8):
        fleet.wait_completed(fleet.completed + context.rng.randrange(500, 2500))
        cuts += line.cut()
    sent = fleet.finish()
    check(all(exchange.is_complete for exchange in sent), "a client noticed that the broker is far away")
    records = context.requests_logged(roles.data)
    roles.wait_folded(len(records), "requests in the end", 60)
    for process in (pump, *folders):
        process.require_running()
    stop_gateway(roles)
    roles.wait_shipped(seconds=60)
    line.delay = 0.0
    check_settled(roles, len(records))
    check_ledger(roles.database, context, roles.data)
    context.note(f"{cuts} connections cut; {check_identities(records, sent)}")
    context.note(f"topic: {check_topic(broker.messages(), context.log_records(roles.data), 'the topic')}")
    cluster.stop()

