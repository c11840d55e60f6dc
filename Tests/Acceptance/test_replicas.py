"""The query API over a primary and a streaming replica of it, both private."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from harness.checks import check, equal, settles, until
from harness.context import Context
from harness.deployment import Roles, make_roles
from harness.registry import test


def metric(roles: Roles, name: str) -> float:
    """A number of the page of metrics; labels belong to the name."""
    text = roles.api.call("GET", "/metrics").body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    check(found, f"no {name} in\n{text}")
    return float(found[1])


def total(roles: Roles) -> int:
    """Requests of all time."""
    rows = roles.api.usage({"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z", "granularity": "total"})["rows"]
    return rows[0]["requests"] if rows else 0


@test(seconds=150, full_only=True)
def replicas(context: Context) -> None:
    """reads go to a replica, but never back in time; when it is behind or down the primary answers, and the other way round"""
    cluster, roles = make_roles(context)

    def load(count: int, seed: int) -> None:
        context.run(
            "load", "--into", roles.data, "--records", count, "--profile", "ten", "--seed", seed, "--start",
            "2026-01-01T10:00:00Z")

    load(400, 1)
    folding = roles.start_aggregator()
    settles(roles.database.requests, 400, "requests folded", 60)
    replica = cluster.make_replica()
    replica.start()
    copy = replica.database("usage")
    roles.settings["serve"] |= {"replicas": [copy.uri], "replica_lag_max": "3s"}
    roles.config = context.configuration(roles.settings, "replicas.yaml")
    roles.start_serve()
    usable, reads = 'query_replica_usable{replica="1"}', 'query_replica_reads_total{replica="1"}'

    def is_used() -> bool:
        before = metric(roles, reads)
        total(roles)
        return metric(roles, reads) > before

    until(is_used, "the replica answers questions", 30)
    equal(total(roles), 400, "requests by the replica")

    # The replica stands still. Within the bound it may answer what it has; once the newer state was shown, never again.
    copy.rows("SELECT pg_wal_replay_pause()")
    until(lambda: copy.rows("SELECT pg_get_wal_replay_pause_state()")[0][0] == "paused", "replay is paused", 20)
    load(100, 2)
    settles(roles.database.requests, 500, "requests folded on the primary", 60)
    settles(lambda: total(roles), 500, "requests when the replica is behind by more than the bound", 30)
    equal({total(roles) for _ in range(20)}, {500}, "answers after that")
    equal(copy.requests(), 400, "requests that the replica itself would have shown")
    check(metric(roles, 'query_replica_lag_seconds{replica="1"}') != 0, "the lag is not shown")
    copy.rows("SELECT pg_wal_replay_resume()")
    until(is_used, "the replica answers again", 30)
    equal(total(roles), 500, "requests by the replica that has caught up")

    # Dead, it is missed by nobody.
    replica.kill()
    equal({total(roles) for _ in range(5)}, {500}, "answers after the replica was killed")
    until(lambda: metric(roles, usable) == 0, "the dead replica is not used", 20)
    replica.start()
    until(is_used, "the replica answers after a restart", 30)

    # With the primary dead the replica still answers, and does not claim to know the present.
    folding.terminate()
    until(is_used, "the replica answers", 30)
    flushed = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
    replayed = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint"
    until(lambda: copy.integer(replayed) >= roles.database.integer(flushed), "the replica has everything", 30)
    cluster.kill()
    killed = datetime.now(timezone.utc)
    for _ in range(3):
        answer = roles.api.usage({"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z", "granularity": "total"})
        equal(answer["rows"][0]["requests"], 500, "requests without the primary")
        complete = datetime.fromisoformat(answer["complete_to"].replace("Z", "+00:00"))
        check(complete <= killed, f"complete to {complete}, but the primary was killed at {killed}")
    replica.kill()
    until(lambda: roles.api.call("GET", "/v1/usage").status == 503, "503 with neither", 20)
