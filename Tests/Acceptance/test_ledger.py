"""The ledger: what is missing is named, and what is waited for can be given up."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from harness.checks import check, equal, until
from harness.combined_log import synthetic
from harness.context import Context
from harness.deployment import Roles, make_roles
from harness.registry import test

ALL_TIME = {"from_": "2020-01-01T00:00:00Z", "to": "2035-01-01T00:00:00Z"}


def complete_to(roles: Roles) -> str:
    """Up to when the answers are complete."""
    return roles.api.get("/v1/meta").json()["complete_to"]


def states(roles: Roles) -> dict[str, str]:
    """The state of each log, by its id."""
    return {log["log_id"]: log["state"] for log in roles.api.get("/v1/ledger").json()["logs"]}


@test(seconds=90, full_only=True)
def waits_for_the_dead(context: Context) -> None:
    """complete_to stands still while a killed gateway's logs are open: until recovery seals them, or they are retired"""
    cluster, roles = make_roles(context)
    roles.start_aggregator()
    roles.start_serve()
    gateway = roles.start_gateway()
    until(lambda: states(roles), "logs of the gateway in the ledger", 20)
    first = complete_to(roles)
    until(lambda: complete_to(roles) > first, "complete_to moves with the heartbeats", 20)
    gateway.kill()
    logs = set(states(roles))

    def beats() -> str:
        return roles.database.value("SELECT max(heartbeat_at) FROM sluice.log")

    # All that was written is folded; from now on nothing can move.
    last = {"beat": ""}

    def still() -> bool:
        before, last["beat"] = last["beat"], beats()
        return before == last["beat"]

    until(still, "no more heartbeats", 20, 3)
    stands = complete_to(roles)
    equal(set(states(roles).values()), {"open"}, "states of the logs of a killed gateway")

    # A new gateway seals what the old one left.
    gateway = roles.start_gateway()
    until(lambda: complete_to(roles) > stands, "complete_to moves after recovery", 20)
    check(all(states(roles)[log] == "ended" for log in logs), f"states after recovery: {states(roles)}")

    # A gateway that never comes back.
    gateway.kill()
    last["beat"] = ""
    until(still, "no more heartbeats", 20, 3)
    stands = complete_to(roles)
    left = [log for log, state in states(roles).items() if state == "open"]
    check(left, "no log is open")
    for log in left:
        context.run("status", "--config", roles.config, "--retire", log)
    again = context.run("status", "--config", roles.config, "--retire", left[0]).stdout.decode()
    check("nothing to do" in again, f"a log retired twice: {again!r}")
    context.run("status", "--config", roles.config, "--retire", "00000000-0000-0000-0000-000000000001", code=1)
    until(lambda: complete_to(roles) > stands, "complete_to moves after the logs were retired", 20)
    equal({states(roles)[log] for log in left}, {"retired"}, "states of retired logs")
    ledger = roles.api.get("/v1/ledger").json()
    check(ledger["balanced"], f"the ledger does not balance: {ledger}")
    cluster.stop()


def remove_segment(context: Context, roles: Roles, size: int) -> tuple[Path, dict[int, bool], dict[int, bool]]:
    """Takes a segment out of the middle of an imported log: its path, and which offsets are requests before and after."""
    start = 1_740_823_200
    lines = synthetic(context.rng, sorted(start + context.rng.randrange(7_200) for _ in range(size)))
    context.run(
        "import", "--config", roles.config, "--format", "combined", "--org", "shop", "--api", "site",
        context.write("access.log", lines))
    segments = sorted((roles.data / "log").rglob("*.log"), key=lambda path: path.name)
    check(len(segments) > 3, f"segments: {segments}")
    gone = segments[1]

    def records() -> dict[int, bool]:
        return {record["offset"]: record["kind"] == "request" for record in context.log_records(roles.data)
                if "offset" in record and record["log_id"] in str(gone)}

    before = records()
    gone.rename(context.directory / "gone")
    return gone, before, records()


@test(seconds=90, full_only=True)
def missing_segment(context: Context) -> None:
    """a segment deleted by hand is a gap with its exact offsets, in status, /v1/ledger and metrics, until it is back"""
    context.note_seed()
    port = context.free_port()
    cluster, roles = make_roles(context, log={"segment_bytes": "1MiB"})
    size = 20_000
    gone, before, left = remove_segment(context, roles, size)
    lost = sorted(before.keys() - left.keys())
    first, after = lost[0], lost[-1] + 1
    equal(len(lost), after - first, "offsets of one segment")

    aggregator = context.start(
        "aggregator", "--config", roles.config, environment={"SLUICE_METRICS_LISTEN": f"127.0.0.1:{port}"})
    roles.start_serve()
    roles.api.wait_total(sum(left.values()), "requests that are left", 30, **ALL_TIME)
    age(roles)
    ledger = until_ledger(roles, False)
    log = ledger["gaps"][0]["log_id"]
    equal(ledger["gaps"], [{"log_id": log, "first_offset": first, "next_offset": after}], "gaps")
    check(log in str(gone), f"the gap is in {log}, the segment was {gone}")
    equal((ledger["missing"], ledger["pending"], ledger["unaccounted"]), (len(lost), len(lost), 0), "totals")
    report = json.loads(context.run("status", "--config", roles.config, "--format", "json").stdout)
    equal(report["ledger"][0]["balance"], "NOT BALANCED", "`sluice status` of the ledger")
    equal([(row["log"], row["first_offset"], row["next_offset"]) for row in report["gaps"]], [(log, first, after)],
          "gaps of `sluice status`")
    until(lambda: f"aggregator_ledger_missing_offsets {len(lost)}\n" in page(port), "the gap among the metrics", 40, 0.5)
    one = roles.api.get("/v1/ledger", log=log).json()
    equal(sum(hour["appended"] for hour in one["hours"]), one["appended"], "the hours of the log")
    equal(sum(hour["pending"] for hour in one["hours"]), len(lost), "what is pending in the hours of the log")

    # The segment comes back: its records count, once.
    (context.directory / "gone").rename(gone)
    equal(aggregator.terminate(), 0, "exit code of the aggregator")
    roles.start_aggregator()
    roles.api.wait_total(size, "all requests", 30, **ALL_TIME)
    age(roles)
    until_ledger(roles, True)
    cluster.stop()


@test(seconds=90, full_only=True)
def accepted_gap(context: Context) -> None:
    """a gap accepted as lost leaves the ledger balanced; answers and checkpoints go on; records of it do not count"""
    context.note_seed()
    cluster, roles = make_roles(context, log={"segment_bytes": "1MiB"})
    gone, before, left = remove_segment(context, roles, 20_000)
    lost = len(before) - len(left)
    roles.start_serve()
    aggregator = roles.start_aggregator()
    roles.api.wait_total(sum(left.values()), "requests that are left", 30, **ALL_TIME)
    age(roles)
    gap = until_ledger(roles, False)["gaps"][0]
    # Answers are complete up to the hour in which it was appended, and not beyond.
    hours = [row[0] for row in roles.database.rows(
        """SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM sluice.ledger""")]
    stands = complete_to(roles)
    check(stands in hours, f"complete_to with a gap is {stands}, hours of the log: {hours}")
    name = f"{gap['log_id']}:{gap['first_offset']}-{gap['next_offset']}"
    config = ("--config", roles.config)
    context.run("status", *config, "--accept-gap", name, code=2)
    context.run("status", *config, "--accept-gap", "nonsense", "--reason", "x", code=2)
    beyond = f"{gap['log_id']}:{gap['first_offset'] - 1}-{gap['next_offset']}"
    context.run("status", *config, "--accept-gap", beyond, "--reason", "x", code=1)
    context.run("status", *config, "--accept-gap", name, "--reason", "the disk of gw-3 is gone")
    ledger = until_ledger(roles, True)
    equal((ledger["gaps"], ledger["pending"], ledger["logs"][0]["lost"]), ([], 0, lost), "the ledger after that")
    accepted = ledger["accepted_gaps"][0]
    equal((accepted["reason"], accepted["next_offset"]), ("the disk of gw-3 is gone", gap["next_offset"]), "the record")
    report = json.loads(context.run("status", *config, "--format", "json").stdout)
    equal(report["accepted_gaps"][0]["first_offset"], gap["first_offset"], "`sluice status` of accepted gaps")
    check(complete_to(roles) > stands, "complete_to does not move when the gap is accepted")

    # The aggregator that runs learns of it.
    def stored() -> list[int]:
        found = (roles.data / "checkpoints/aggregator").glob(gap["log_id"])
        return [int(file.read_text().split()[3]) for file in found]

    until(lambda: stored() == [max(before) + 1], "the checkpoint goes beyond the gap", 30)
    # The segment comes back: its records do not count any more.
    equal(aggregator.terminate(), 0, "exit code of the aggregator")
    (context.directory / "gone").rename(gone)
    roles.start_aggregator()
    context.run("load", "--into", roles.data, "--records", 100, "--profile", "ten", "--seed", 4)
    roles.api.wait_total(sum(left.values()) + 100, "requests of two logs", 30, **ALL_TIME)
    cluster.stop()


def page(port: int) -> str:
    """The metrics of the aggregator."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()


def age(roles: Roles) -> None:
    """As if a minute had gone by since the ends of the logs were read."""
    until(lambda: roles.database.integer("SELECT count(*) FROM sluice.log WHERE ended_at IS NOT NULL"), "an end", 20)
    roles.database.rows(
        "UPDATE sluice.log SET ended_at = ended_at - interval '2 minutes' WHERE ended_at IS NOT NULL RETURNING 1")


def until_ledger(roles: Roles, is_balanced: bool) -> dict:
    """The ledger, once it balances or does not."""
    answers = []

    def arrives() -> bool:
        answers.append(roles.api.get("/v1/ledger").json())
        return answers[-1]["balanced"] == is_balanced

    until(arrives, f"a ledger with balanced = {is_balanced}", 20)
    return answers[-1]
