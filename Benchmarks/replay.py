#!/usr/bin/env python3
"""A rebuild of the rollups beside a live fold of the same records, on one machine; prints their ratio.

Usage: .venv/bin/python Benchmarks/replay.py [--records 1000000] [--rounds 1] [--profile platform] [--verify]
           [--binary PATH]

Each round writes the records as four logs of lanes that ran at the same time. Then:
  1. live: `sluice aggregator` over the full logs, as one that catches up; "committed" is when all are counted in
     answers, "settled" when its compactor has merged the last delta row, which is the state that a rebuild ends in;
  2. replay: `sluice replay --rollups` of the same records, from the start of the process to its end, with the switch.
Both read the logs from the page cache: what a disk gives is not what is measured, and some virtual machines drop
cached files after seconds. PostgreSQL is configured as it comes: commits reach the disk, 128 MB are shared. Before the
replay it cleans up after the live fold (VACUUM, CHECKPOINT), which neither of the two is charged for. Rates count from
the first commit seen (live) or from the start (replay). Processor time is that of the program and of all of
PostgreSQL, so it says something on a busy machine as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests/Acceptance"))

from harness.context import Context  # noqa: E402
from harness.database import ROLLUPS, Cluster  # noqa: E402
from harness.deployment import Roles  # noqa: E402

LOGS = 4
# The tests' servers save both.
AS_IT_COMES = "fsync = on\nshared_buffers = 128MB\n"
TICKS = os.sysconf("SC_CLK_TCK")


def used(pid: int) -> float:
    """Seconds that a process and its children that ended have used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def used_by_database(cluster: Cluster) -> float:
    """The same of a server with its sessions."""
    children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text().split()
    total = used(cluster.pid)
    for child in children:
        try:
            total += used(int(child))
        except OSError:
            pass  # it ended, and counts in the server's sum
    return total


def warm(directory: Path) -> None:
    """Reads all files of a directory into the page cache."""
    for path in directory.rglob("*.log"):
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


@dataclass
class Round:
    """What one round measured: seconds, and processor time per record in µs."""

    committed: float
    settled: float
    replay: float
    live_time: float
    replay_time: float


def live(context: Context, cluster: Cluster, roles: Roles, total: int) -> tuple[float, float, float]:
    """A live fold: seconds until all is committed, and until all is settled; processor seconds."""
    database = roles.database
    before = used_by_database(cluster)
    process = roles.start_aggregator()
    first = committed = None
    while committed is None:
        done = database.integer(
            "SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM sluice.source, unnest(folded) r WHERE generation = 1")
        now = time.monotonic()
        if not done:
            first = now
        elif done >= total:
            committed = now
        else:
            time.sleep(0.05)
    waiting = " OR ".join(f"EXISTS (SELECT FROM sluice_g1.{name}_delta)" for name in ROLLUPS)
    while database.value(f"SELECT {waiting}") == "t":
        time.sleep(0.5)  # the question looks at dead rows, which is work of its own
    settled = time.monotonic()
    own = used(process.pid)
    process.terminate()
    begin = first if first is not None else committed
    return committed - begin, settled - begin, own + used_by_database(cluster) - before


def replay(context: Context, cluster: Cluster, roles: Roles, *options: str) -> tuple[float, float, dict[str, Any]]:
    """A rebuild: seconds, processor seconds, and its summary."""
    database, own = used_by_database(cluster), resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    result = context.run(
        "replay", "--rollups", *options, "--config", roles.config, "--format", "json",
        environment=roles.environment, seconds=600)
    end = time.monotonic()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
    return end - begin, spent + used_by_database(cluster) - database, json.loads(result.stdout)[0]


def measure(context: Context, cluster: Cluster, number: int, options: argparse.Namespace) -> Round:
    """One round in a database and a data directory of its own."""
    roles = Roles(context, cluster.create(f"replay{number}"), aggregator={})
    roles.migrate()
    for lane in range(LOGS):
        context.run(
            "load", "--into", roles.data, "--records", options.records // LOGS, "--profile", options.profile, "--seed",
            options.seed + LOGS * number + lane, "--start", "2025-03-01T10:00:00Z", "--step", options.step, seconds=300)
    total = options.records
    warm(roles.data)
    committed, settled, live_time = live(context, cluster, roles, total)
    if options.verify:
        verified = replay(context, cluster, roles, "--verify")[2]
        if int(verified["rows_different"]) or not int(verified["rows_compared"]):
            raise SystemExit(f"the rebuild differs: {verified}")
        print(f"round {number}: {verified['rows_compared']} rows of the live rollups are the same in a rebuild", flush=True)
    for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
        roles.database.rows(statement, seconds=300)
    warm(roles.data)
    seconds, replay_time, summary = replay(context, cluster, roles)
    if int(summary["folded"]) < total:
        raise SystemExit(f"not all of {total} records were rebuilt: {summary}")
    result = Round(committed, settled, seconds, live_time / total * 1e6, replay_time / total * 1e6)
    print(
        f"round {number}: live {total / committed:,.0f} records/s committed, {total / settled:,.0f} settled, "
        f"{result.live_time:.1f} µs each; replay {total / seconds:,.0f}, {result.replay_time:.1f} µs each, "
        f"live folds held {summary.get('held_ms', '?')} ms; ratio {settled / seconds:.2f} to settled, "
        f"{committed / seconds:.2f} to committed", flush=True)
    shutil.rmtree(roles.data, ignore_errors=True)
    return result


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", default="platform")
    parser.add_argument("--step", type=int, default=800, help="event time between two records of a log, µs")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--verify", action="store_true", help="compare all rows with those of the live fold before")
    parser.add_argument("--binary", default=".build/release/sluice")
    options = parser.parse_args()
    options.records -= options.records % LOGS
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    context = Context(directory, Path(options.binary).resolve(), ROOT, False, options.seed, random.Random(options.seed))
    cluster, began = None, time.monotonic()
    try:
        cluster = Cluster(directory, AS_IT_COMES)
        rounds = [measure(context, cluster, number, options) for number in range(options.rounds)]

        def median(pick: Any) -> float:
            return statistics.median(map(pick, rounds))

        count = options.records
        print(f"\n| what, {count:,} records, `{options.profile}`, {len(rounds)} rounds | figure |\n|---|---|")
        print(
            f"| live fold, until merged into the rollups | {count / median(lambda r: r.settled):,.0f} records/s "
            f"({count / median(lambda r: r.committed):,.0f} until committed); "
            f"{median(lambda r: r.live_time):.1f} µs of processor time each |")
        print(
            f"| replay, switch included | {count / median(lambda r: r.replay):,.0f} records/s; "
            f"{median(lambda r: r.replay_time):.1f} µs of processor time each |")
        print(
            f"| ratio | {median(lambda r: r.settled / r.replay):.2f} "
            f"({median(lambda r: r.committed / r.replay):.2f} to committed); {median(lambda r: r.live_time / r.replay_time):.2f} in processor time |")
        print(f"\n({time.monotonic() - began:.0f} s)")
    finally:
        context.kill_all()
        if cluster:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
