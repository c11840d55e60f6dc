"""Killed without warning: whatever the client saw complete is counted, and nothing twice."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness import checks
from harness.checks import Failure, Skip, check, equal, settles, until
from harness.context import Context
from harness.database import Cluster, Database
from harness.deployment import Roles, Up, make_roles
from harness.faults import SmallDisk
from harness.http import Client, is_ready
from harness.isolation import children_of
from harness.process import Process, kill_pid
from harness.query import QueryAPI
from harness.registry import test
from harness.traffic import Exchange, Fleet, Plan, gateway_settings, whatever_happens
from harness.upstream import Upstream

ALL_TIME = {"from_": "2000-01-01T00:00:00Z"}


def relaxed(upstream: Upstream, context: Context) -> dict[str, Any]:
    """Gateway settings for clients that must not see a timeout on a busy machine."""
    gateway = gateway_settings(upstream.url, context.refusing_port())
    gateway["timeouts"] = {"connect": "10s", "upstream": "20s", "request": "20s"}
    return gateway


def check_identities(records: list[dict[str, Any]], sent: list[Exchange]) -> str:
    """Every completed response has one record; no request has two; nothing else is there."""
    found = Counter(record.get("path", "").rsplit("/", 1)[-1] for record in records)
    doubled = [name for name, count in found.items() if count > 1]
    check(not doubled, f"{len(doubled)} requests are recorded twice: {doubled[:5]}")
    known = {exchange.identity for exchange in sent}
    unknown = [name for name in found if name not in known]
    check(not unknown, f"{len(unknown)} records of requests that nobody sent: {unknown[:5]}")
    completed = [exchange for exchange in sent if exchange.is_complete]
    lost = [exchange.identity for exchange in completed if exchange.identity not in found]
    check(not lost, f"{len(lost)} of {len(completed)} responses that were seen complete are not recorded: {lost[:5]}")
    statuses = {record.get("path", "").rsplit("/", 1)[-1]: record.get("status") for record in records}
    wrong = [e.identity for e in completed if statuses[e.identity] != e.status]
    check(not wrong, f"{len(wrong)} records have another status than the response: {wrong[:5]}")
    return f"{len(sent)} sent, {len(completed)} completed, {len(records)} recorded"


def check_counted(api: QueryAPI, records: list[dict[str, Any]], seconds: float) -> None:
    """The rollups are those of the records in the log."""
    api.wait_total(len(records), "records in the log", seconds, **ALL_TIME)
    expected = Counter((record.get("api"), record.get("status"), record.get("outcome")) for record in records)
    equal(Counter(api.tally("api,status,outcome", **ALL_TIME)), expected, "rollups against the log")
    expected = Counter((record.get("api"), record.get("application")) for record in records)
    equal(Counter(api.tally("api,application", **ALL_TIME)), expected, "rollups by application against the log")


@test(seconds=300)
def gateway(context: Context) -> None:
    """kill -9 of the gateway under load: every completed response is counted, none twice"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    kills = context.pick(quick=10, full=50)
    cluster, roles = make_roles(context, relaxed(upstream, context), log={"sync": "interval", "segment_bytes": "4MiB"})
    roles.start_aggregator()
    roles.start_serve()
    process = roles.start_gateway()
    fleet = Fleet(context.directory, roles.gateway_port, context.seed, whatever_happens)
    for number in range(kills):
        fleet.wait_completed(fleet.completed + context.rng.randrange(1, 400))
        process.kill()
        # Both modes take turns; in both, what was written survives the death of the process.
        roles.settings["log"]["sync"] = "strict" if number % 2 == 0 else "interval"
        context.configuration(roles.settings, roles.config.name)
        process = roles.start_gateway()
    fleet.wait_completed(fleet.completed + 100)
    sent = fleet.finish()
    equal(process.terminate(), 0, "exit code of the last gateway")
    records = context.requests_logged(roles.data)
    context.note(f"{kills} kills: {check_identities(records, sent)}")
    check_counted(roles.api, records, 60)
    context.run("log", "verify", roles.data)
    roles.database.check_rows()
    roles.database.wait_compacted()
    roles.database.check_tiers()
    check_ledger(roles.database, context, roles.data)
    cluster.stop()


def check_ledger(database: Database, context: Context, data: Path) -> None:
    """Every offset that the log holds is folded, once: the sets are whole and add up."""
    ranges = dict(database.rows("SELECT log_id, folded FROM sluice.source WHERE generation = 1"))
    last: dict[str, int] = {}
    for record in context.log_records(data):
        if "offset" in record:
            last[record["log_id"]] = max(last.get(record["log_id"], -1), record["offset"])

    def whole() -> bool:
        current = dict(database.rows("SELECT log_id, folded FROM sluice.source WHERE generation = 1"))
        wrong = {
            log: current.get(log) for log, end in last.items()
            if current.get(log) is None or not current[log].startswith("{[0,") or current[log].count("[") != 1
            or int(current[log].split(",")[1].rstrip(")}")) < end + 1}
        if wrong:
            raise Failure(f"logs that are not folded as a whole: {list(wrong.items())[:4]}, ends {last}")
        return True

    until(whole, "every log folded as one range from 0 to its end", 60)
    check(ranges, "no log is in the ledger")
    rows = database.integer(
        "SELECT count(*) FROM sluice.source s JOIN (SELECT log_id, sum(folded + dead_lettered + expired + damaged"
        " + filtered + sampled + too_large + rejected + dropped) AS accounted FROM sluice.ledger WHERE generation = 1"
        " GROUP BY log_id) l USING (log_id) WHERE s.generation = 1 AND l.accounted <> (SELECT sum(upper(r) - lower(r))"
        " FROM unnest(s.folded) r)")
    equal(rows, 0, "logs whose ledger does not balance")


@test(seconds=240)
def everything(context: Context) -> None:
    """kill -9 of `sluice up` under load: it adopts or restarts its PostgreSQL and counts on"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    up = Up(context, relaxed(upstream, context), log={"segment_bytes": "4MiB"}).start()
    fleet = Fleet(context.directory, up.gateway_port, context.seed, whatever_happens)
    for number in range(context.pick(quick=3, full=12)):
        fleet.wait_completed(fleet.completed + context.rng.randrange(1, 1500))
        postmaster = up.embedded.pid
        up.process.kill()
        if number % 3 == 2 and postmaster:
            # Like a restart of the machine: the database is gone as well.
            kill_pid(postmaster)
        up.start()
    fleet.wait_completed(fleet.completed + 100)
    sent = fleet.finish()
    settled = context.requests_logged(up.data)
    context.note(check_identities(settled, sent))
    check_counted(up.api, settled, 60)
    up.database().check_rows()
    up.stop()


def load(context: Context, data: Path, records: int, seed: int, **more: str) -> None:
    """Writes seeded records into a data directory."""
    flags = [part for name, value in more.items() for part in (f"--{name}", value)]
    context.run(
        "load", "--into", data, "--records", records, "--profile", "ten", "--seed", seed, *flags, seconds=120)


@test(seconds=240)
def aggregator(context: Context) -> None:
    """kill -9 of aggregators while they fold and compact: counts exact, histograms whole"""
    context.note_seed()
    kills = context.pick(quick=5, full=20)
    size = context.pick(quick=20_000, full=30_000)
    cluster, roles = make_roles(
        context, aggregator={"flush_records": 2000, "flush_interval": "20ms", "compact_interval": "150ms"})
    database = roles.database
    total = 0
    second: Process | None = None
    for number in range(kills):
        load(context, roles.data, size, context.seed % 1_000_000 + number, start=f"2025-03-{1 + number % 28:02}T10:00:00Z", step="20000")
        total += size
        process = roles.start_aggregator()
        if number % 3 == 1:
            second = roles.start_aggregator()
        before = database.requests()
        goal = before + context.rng.randrange(0, total - before + 1)
        until(lambda: database.requests() >= goal or not process.is_running, f"{goal} requests folded", 60, 0)
        process.require_running()
        (second if second and context.rng.random() < 0.5 else process).kill()
        process.kill()
        if second and context.rng.random() < 0.5:
            second.kill()
            second = None
        check(database.requests() <= total, "more requests are folded than were written")
        if number % 4 == 0:
            database.check_rows()
    roles.start_aggregator()
    settles(database.requests, total, "requests folded in the end", 60)
    database.wait_compacted()
    equal(database.requests(), total, "requests after compaction")
    database.check_rows()
    database.check_tiers()
    records = context.requests_logged(roles.data)
    equal(len(records), total, "records in the logs")
    roles.start_serve()
    check_counted(roles.api, records, 10)
    check_ledger(database, context, roles.data)
    context.note(f"{kills} kills, {total} records")
    cluster.stop()


@test(seconds=300, full_only=True)
def postgres(context: Context) -> None:
    """kill -9 of PostgreSQL under load: `sluice up` comes back by itself, counts are exact"""
    context.note_seed()
    kills = context.pick(quick=5, full=20)
    size = context.pick(quick=10_000, full=30_000)
    upstream = Upstream()
    upstream.ask("forget")
    up = Up(
        context, relaxed(upstream, context),
        aggregator={"flush_records": 2000, "flush_interval": "20ms", "compact_interval": "150ms"}).start()
    fleet = Fleet(context.directory, up.gateway_port, context.seed, whatever_happens, processes=1, threads=4)
    total = 0
    # A real import goes on meanwhile, and waits until it is visible.
    imported = context.start(
        "import", "--config", str(up.config), "--org", "acme", "--api", "imported", "--wait", str(context.access_log()[0]))
    for number in range(kills):
        load(context, up.data, size, context.seed % 1_000_000 + number, start=f"2025-03-{1 + number % 28:02}T10:00:00Z", step="20000")
        total += size
        postmaster = until(lambda: up.embedded.pid, "a live PostgreSQL", 30)
        time.sleep(context.rng.random() * 0.4)  # a random moment, not an event to wait for
        backends = children_of(postmaster)
        if number % 3 == 2 and backends:
            # One backend: the postmaster then restarts all of them.
            kill_pid(context.rng.choice(backends))
        else:
            kill_pid(postmaster)
            until(lambda: up.embedded.pid not in (None, postmaster), "PostgreSQL was restarted", 60)
        served = fleet.completed
        fleet.wait_completed(served + 20)
        up.process.require_running()
    until(lambda: is_ready(up.query_port), "the query API is ready again", 60)
    sent = fleet.finish()
    check(all(exchange.is_complete for exchange in sent), "a client noticed that PostgreSQL was killed")
    total += len(sent) + 10_000
    equal(imported.wait(90), 0, f"exit code of an import while PostgreSQL is killed: {imported.output()[-600:]}")
    equal(up.api.total(filter=["api:eq:imported"], **ALL_TIME), 10_000, "imported requests when --wait has returned")
    up.api.wait_total(total, "requests in the end", 90, **ALL_TIME)
    database = up.database()
    database.wait_compacted()
    database.check_rows()
    database.check_tiers()
    records = context.requests_logged(up.data)
    equal(len(records), total, "records in the logs")
    check_counted(up.api, records, 10)
    check_ledger(database, context, up.data)
    context.note(f"{kills} kills, {total} requests")
    up.stop()


def copy_data(source: Path, target: Path) -> None:
    """Copies a data directory as an operator would, holes kept, without the database."""
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(mode=0o700)
    for entry in source.iterdir():
        if not entry.name.startswith("postgres"):
            # A file that is removed meanwhile is not copied; that is all a live copy can do.
            subprocess.run(
                ["cp", "--archive", "--sparse=always", str(entry), str(target)], check=False, timeout=300 * checks.stretch(),
                stderr=subprocess.DEVNULL)


@test(seconds=150, full_only=True)
def restored(context: Context) -> None:
    """a data directory restored from an older copy: what comes later is all counted"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    cluster, roles = make_roles(context, relaxed(upstream, context), log={"segment_bytes": "1MiB"})
    roles.start_serve()
    everything_sent: list[Exchange] = []
    old = context.directory / "old"
    for round_ in range(context.pick(quick=2, full=4)):
        process, folder = roles.start_gateway(), roles.start_aggregator()

        def phase(name: str, copies: bool) -> None:
            fleet = Fleet(
                context.directory, roles.gateway_port, context.seed, whatever_happens, name=f"{name}{round_}-", processes=1)
            fleet.wait_completed(300)
            if copies:
                copy_data(roles.data, old)
            fleet.wait_completed(fleet.completed + 300)
            sent = fleet.finish()
            check(all(exchange.is_complete for exchange in sent), f"phase {name}: incomplete responses")
            everything_sent.extend(sent)
            roles.api.wait_total(len(everything_sent), f"requests after phase {name}{round_}", 40)

        phase("before", copies=True)
        phase("after", copies=False)
        process.kill()
        folder.kill()
        copy_data(old, roles.data)
        process, folder = roles.start_gateway(), roles.start_aggregator()
        phase("restored", copies=False)
        process.kill()
        folder.kill()
    folder = roles.start_aggregator()
    roles.database.wait_compacted()
    roles.database.check_rows()
    roles.database.check_tiers()
    equal(roles.api.total(), len(everything_sent), "requests in the end")
    cluster.stop()


@test(seconds=120)
def copied(context: Context) -> None:
    """a copied data directory run beside the original: nothing counted twice, nothing lost"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    cluster, first = make_roles(context, relaxed(upstream, context), log={"segment_bytes": "1MiB"})
    first.start_serve()
    first.start_gateway()
    first.start_aggregator()
    fleet = Fleet(context.directory, first.gateway_port, context.seed, whatever_happens, name="one-", processes=1)
    fleet.wait_completed(500)
    twin_data = context.directory / "twin"
    copy_data(first.data, twin_data)
    twin = Roles(context, first.database, relaxed(upstream, context), data=twin_data, log={"segment_bytes": "1MiB"})
    twin.start_gateway()
    twin.start_aggregator()
    other = Fleet(context.directory, twin.gateway_port, context.seed, whatever_happens, name="two-", processes=1)
    other.wait_completed(500)
    fleet.wait_completed(fleet.completed + 500)
    sent = fleet.finish() + other.finish()
    check(all(exchange.is_complete for exchange in sent), "incomplete responses")
    first.api.wait_total(len(sent), "requests through both", 60)
    records: dict[tuple, dict[str, Any]] = {}
    for data in (first.data, twin_data):
        for record in context.requests_logged(data):
            identity = (record["log_id"], record["offset"])
            check(records.setdefault(identity, record) == record, f"two different records are called {identity}")
    check_identities(list(records.values()), sent)
    first.database.wait_compacted()
    first.database.check_rows()
    equal(first.api.total(), len(sent), "requests after compaction")
    cluster.stop()


@test(seconds=60)
def damaged(context: Context) -> None:
    """a flipped bit costs at most one batch: the rest is counted, the loss is reported by its offsets"""
    context.note_seed()
    cluster, roles = make_roles(context)
    size = 20_000
    load(context, roles.data, size, 7)
    segments = [path for path in (roles.data / "log").rglob("*.log") if path.stat().st_size > 100_000]
    equal(len(segments), 1, f"segments of one log: {segments}")
    context.run("log", "verify", roles.data)
    content = bytearray(segments[0].read_bytes())
    used = len(content.rstrip(b"\0"))
    place = context.rng.randrange(used // 10, used * 9 // 10)
    content[place] ^= 1 << context.rng.randrange(8)
    segments[0].write_bytes(content)
    verdict = context.run("log", "verify", roles.data, "--format", "json", code=1)
    check(b"damaged" in verdict.stdout, f"`sluice log verify` of a damaged log: {verdict.stdout!r}")
    left = context.requests_logged(roles.data)
    lost = size - len(left)
    check(0 < lost <= size // 4, f"{lost} of {size} records are lost by one bit")
    roles.start_aggregator()
    roles.start_serve()
    roles.api.wait_total(len(left), "requests that are left", 30, **ALL_TIME)
    database = roles.database
    settles(
        lambda: database.integer("SELECT coalesce(sum(damaged), 0) FROM sluice.ledger"), lost,
        "offsets that the ledger calls damaged", 20)
    check_ledger(database, context, roles.data)
    status = context.run("status", "--config", roles.config, "--format", "json").stdout.decode()
    check("damaged" in status, f"`sluice status` does not speak of damage: {status[:600]}")
    context.note(f"bit {place}: {lost} of {size} records lost")
    cluster.stop()


@test(seconds=120, full_only=True)
def retained(context: Context) -> None:
    """consumed segments beyond the configured size are deleted, and nothing is counted less or twice"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    limit = 2 << 20
    up = Up(
        context, relaxed(upstream, context),
        log={"segment_bytes": "1MiB", "retain": {"age": "7d", "bytes": "2MiB"}}).start()
    fleet = Fleet(context.directory, up.gateway_port, context.seed, whatever_happens)
    until(lambda: log_bytes(up.data) > 3 * limit, "enough segments", 40, 0.2)
    sent = fleet.finish()
    up.api.wait_total(len(sent), "requests before deletion", 30)
    before = log_bytes(up.data)
    up.stop()
    up.start()
    # Two lanes are open beside what is kept, each with an active segment.
    until(lambda: log_bytes(up.data) <= limit + (2 << 20), "old segments deleted", 40, 0.2)
    equal(up.api.total(), len(sent), "requests after deletion")
    after = Fleet(context.directory, up.gateway_port, context.seed, whatever_happens, name="after-")
    after.wait_completed(500)
    sent += after.finish()
    up.api.wait_total(len(sent), "requests after deletion and more traffic", 30)
    context.run("log", "verify", up.data)
    # A new start with the database of before does not miss what was deleted.
    up.stop()
    up.start()
    up.api.wait_total(len(sent), "requests after another start", 30)
    context.note(f"{before >> 10} KiB of segments, then {log_bytes(up.data) >> 10} KiB")


def log_bytes(data: Path) -> int:
    """Bytes of the segments as the disk holds them."""
    total = 0
    for path in (data / "log").rglob("*.log"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass  # deleted meanwhile
    return total


@test(seconds=90, full_only=True)
def full_disk(context: Context) -> None:
    """a full disk is answered 503 before the upstream is asked, and what was answered is counted"""
    context.note_seed()
    upstream = Upstream()
    cluster = Cluster(context.directory)
    data = context.make_directory()
    try:
        disk = SmallDisk(data, 12)
    except Skip:
        cluster.stop()
        raise
    try:
        roles = Roles(
            context, cluster.create("usage"), relaxed(upstream, context), data=data, log={"segment_bytes": "4MiB"})
        roles.migrate()
        gateway_process = roles.start_gateway()

        def ask(plan: Plan) -> tuple[Exchange, int]:
            one = plan.plain()
            with Client(roles.gateway_port) as client:
                client.send(one.data)
                response = client.read()
                if response.status == 503:
                    check(response.header("retry-after"), "a 503 without Retry-After")
                return one, response.status

        plan = Plan(context.seed, "disk")
        answered = [ask(plan)[0] for _ in range(20)]
        # Something else takes the rest of the disk.
        disk.fill()
        refused = 0
        for _ in range(60_000):
            one, status = ask(plan)
            if status == 503:
                refused += 1
                check(
                    not any(one.identity in target for target in upstream.targets()[-50:]),
                    "the upstream was asked although the request could not be recorded")
                if refused == 20:
                    break
            else:
                equal(status, 200, "a request on a full disk")
                answered.append(one)
        equal(refused, 20, "requests refused on a full disk")
        gateway_process.require_running()
        disk.free()

        def recovered() -> bool:
            one, status = ask(plan)
            if status == 200:
                answered.append(one)
            return status == 200

        until(recovered, "served again when there is room", 30)
        equal(gateway_process.terminate(), 0, "exit code")
        records = context.requests_logged(data)
        found = Counter(record["path"].rsplit("/", 1)[-1] for record in records if record["status"] == 200)
        lost = [one.identity for one in answered if found[one.identity] != 1]
        check(not lost, f"{len(lost)} of {len(answered)} answered requests are not recorded once: {lost[:5]}")
        roles.start_aggregator()
        roles.start_serve()
        roles.api.wait_total(len(answered), "answered requests", 30, filter=["status:eq:200"])
        context.note(f"{len(answered)} answered, {refused} refused")
    finally:
        context.kill_all()
        disk.unmount()
    cluster.stop()


@test(seconds=90)
def two_writers(context: Context) -> None:
    """a second gateway on the same data directory is refused, and says why"""
    upstream = Upstream()
    cluster, roles = make_roles(context, relaxed(upstream, context))
    roles.start_gateway()
    roles.settings["gateway"]["listen"] = f"127.0.0.1:{context.free_port()}"
    other = context.configuration(roles.settings, "other.yaml")
    result = context.run("gateway", "--config", other, code=None, seconds=20)
    check(result.returncode in (1, 2), f"exit code {result.returncode}")
    check(b"lock" in result.stderr.lower() or b"another" in result.stderr.lower() or b"in use" in result.stderr.lower(),
          f"the refusal does not say why: {result.stderr[-400:]!r}")
    cluster.stop()
