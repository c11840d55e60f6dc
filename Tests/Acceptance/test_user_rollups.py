"""Rollups that users define: added while counting goes on, filled by a replay, asked about, dropped."""

from __future__ import annotations

import json
from typing import Any

from harness.checks import check, equal, settles
from harness.context import Context
from harness.database import ROLLUPS
from harness.deployment import Roles, make_roles
from harness.registry import test
from test_replay import replay
from test_rollups import fold

NAME = "by-route"
DIMENSIONS = ["org", "route", "user_agent", "tag.tenant"]
TIERS = ["15m", "1d"]
SECOND_DAY = 1_746_144_000_000_000  # 2 May 2025, midnight UTC
QUESTION = {
    "group_by": "route,tag.tenant", "from_": "2025-05-01T00:00:00Z", "to": "2025-05-03T00:00:00Z", "granularity": "1d"}


def configure(context: Context, roles: Roles, rollups: list[dict[str, Any]]) -> None:
    """Writes the configuration again, with these rollups of ours."""
    roles.settings["rollups"] = rollups
    roles.config = context.configuration(roles.settings, f"roles-{roles.data.name}.yaml")


def listed(context: Context, roles: Roles) -> dict[str, dict[str, Any]]:
    """What `sluice rollup ls` shows, by name."""
    result = context.run("rollup", "ls", "--config", roles.config, "--format", "json")
    return {row["name"]: row for row in json.loads(result.stdout)}


def load(context: Context, roles: Roles, records: int, seed: int, start: str) -> None:
    """Writes seeded records of several tenants into the data directory as one log."""
    context.run(
        "load", "--into", roles.data, "--records", records, "--profile", "demo", "--seed", seed, "--start", start,
        "--step", 20_000, "--tenants", 5)


def tally(records: list[dict[str, Any]]) -> dict[tuple, int]:
    """Requests by day, route and tenant, counted here."""
    counts: dict[tuple, int] = {}
    for record in records:
        day = "2025-05-01" if record["completed_at"] < SECOND_DAY else "2025-05-02"
        key = (f"{day}T00:00:00Z", record.get("route"), tenant(record))
        counts[key] = counts.get(key, 0) + 1
    return counts


def tenant(record: dict[str, Any]) -> str | None:
    """The value of the tag, if the record has it."""
    return next((tag["value"] for tag in record.get("tags", []) if tag["key"] == "tenant"), None)


def check_answer(roles: Roles, records: list[dict[str, Any]]) -> None:
    """The API's answer is our own count of these records."""
    rows = roles.api.rows(**QUESTION)
    found = {(row["bucket"], row["route"], row["tag.tenant"]): row["requests"] for row in rows}
    equal(found, tally(records), "requests by day, route and tenant")
    known = [record for record in records if tenant(record) == "t1"]
    check(0 < len(known) < len(records), f"{len(known)} of {len(records)} records are of one tenant")
    period = {key: QUESTION[key] for key in ("from_", "to")}
    equal(roles.api.total(filter=["tag.tenant:eq:t1"], **period), len(known), "requests of one tenant")


def refusal(roles: Roles) -> str:
    """Why the question is refused."""
    parameters = {("from" if key == "from_" else key): value for key, value in QUESTION.items()}
    answer = roles.api.call("GET", "/v1/usage", parameters)
    equal(answer.status, 400, "status of a question that no rollup covers")
    return answer.json()["detail"]


@test(seconds=120)
def lifecycle(context: Context) -> None:
    """a rollup of one's own: counted from when it was added, whole after a replay, dropped after asking"""
    context.note_seed()
    size = 2_000
    cluster, roles = make_roles(context, aggregator={"compact_interval": "300ms"})
    database = roles.database
    load(context, roles, size, context.seed % 1000, "2025-05-01T12:00:00Z")
    first = roles.start_aggregator()
    roles.start_serve()
    settles(database.requests, size, "requests folded", 60)
    check("name: by-route-tag-tenant, dimensions: [route, tag.tenant]" in refusal(roles), refusal(roles))

    # Bad definitions are named with their lines, all at once.
    configure(context, roles, [{"name": "api", "dimensions": ["org", "rout"], "tiers": ["5m"]}])
    result = context.run("check", "--config", roles.config, code=2)
    for words in ('"api" is a built-in rollup', '"rout" is no dimension', '"5m" is not one of'):
        check(words.encode() in result.stdout + result.stderr, f"`sluice check` does not say {words}: {result}")

    # Added in the configuration of one aggregator; the other, which runs, folds it as well.
    definition = {"name": NAME, "dimensions": DIMENSIONS, "tiers": TIERS}
    configure(context, roles, [definition])
    context.run("migrate", "--config", roles.config)
    second = roles.start_aggregator()
    equal(listed(context, roles)[NAME]["defined"], "configuration", "where the rollup is defined")
    ROLLUPS[NAME] = (DIMENSIONS, TIERS)
    load(context, roles, size, context.seed % 999, "2025-05-02T12:00:00Z")
    settles(database.requests, 2 * size, "requests folded", 60)
    database.wait_compacted()
    records = context.requests_logged(roles.data)
    equal(len(records), 2 * size, "records in the logs")
    later = [record for record in records if record["completed_at"] >= SECOND_DAY]
    tables = database.check_tiers()
    equal(tables[f"{NAME}_15m"], fold(later, DIMENSIONS, "15m"), "rows since the rollup was added")
    meta = {rollup["name"]: rollup for rollup in roles.api.get("/v1/meta").json()["rollups"]}
    check(meta[NAME]["complete_since"] is not None and not meta[NAME]["built_in"], f"{meta[NAME]}")

    replay(context, roles)
    database.follow_generation()
    database.wait_compacted()
    tables = database.check_tiers()
    equal(tables[f"{NAME}_15m"], fold(records, DIMENSIONS, "15m"), "rows after the replay")
    check_answer(roles, records)
    view = database.rows(
        f"SELECT to_char(bucket AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T00:00:00Z\"'), route, \"tag.tenant\", sum(requests)"
        f" FROM sluice.\"{NAME}_usage_1d\" GROUP BY 1, 2, 3")
    equal({(day, route or None, tag or None): int(count) for day, route, tag, count in view}, tally(records), "the view of the rollup")
    meta = {rollup["name"]: rollup for rollup in roles.api.get("/v1/meta").json()["rollups"]}
    equal(meta[NAME]["complete_since"], None, "since when the rollup is complete")

    # Dropped only when nobody configures it any more, and not without asking.
    context.run("rollup", "drop", NAME, "--yes", "--config", roles.config, code=1)
    configure(context, roles, [])
    equal(listed(context, roles)[NAME]["defined"], "database only", "where the rollup is defined")
    context.run("rollup", "drop", NAME, "--config", roles.config, code=2)
    context.run("rollup", "drop", NAME, "--yes", "--config", roles.config)
    del ROLLUPS[NAME]
    equal(listed(context, roles).get(NAME), None, "the rollup")
    equal(database.value(f"SELECT count(*) FROM pg_class WHERE relname LIKE '{NAME}%'"), "0", "tables and views of it")
    load(context, roles, size, context.seed % 998, "2025-05-02T15:00:00Z")
    settles(database.requests, 3 * size, "requests folded after the drop", 60)
    check("name: by-route-tag-tenant" in refusal(roles), refusal(roles))
    for process in (first, second):
        process.require_running()
    cluster.stop()
