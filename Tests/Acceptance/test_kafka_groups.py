"""Several aggregators in one consumer group: members that sleep, come and go; partitions and topics that change."""

from __future__ import annotations

import signal

from confluent_kafka import KafkaError, KafkaException

from harness.broker import TOPIC, Noida, Tansu
from harness.checks import Failure, check, equal, until
from harness.context import Context
from harness.database import Cluster
from harness.kafka_roles import KafkaRoles, check_settled, make_kafka_roles
from harness.process import Process
from harness.records import check_topic
from harness.registry import test
from harness.traffic import Fleet
from harness.upstream import Upstream
from test_crash import check_counted, check_identities, check_ledger, relaxed
from test_kafka_crash import paced, stop_gateway


@test(seconds=300, full_only=True)
def zombies(context: Context) -> None:
    """two aggregators, one asleep (SIGSTOP) until the group has moved on, then woken: nothing twice, nothing lost"""
    context.note_seed()
    size = context.pick(quick=10_000, full=30_000)
    broker = Tansu(context)
    cluster, roles = make_kafka_roles(context, broker)
    pump = roles.start_pump()
    folders = [roles.start_aggregator(), roles.start_aggregator()]
    total, seed = 0, context.seed % 1_000_000
    for round_ in range(context.pick(quick=1, full=3)):
        # Several logs, so that both have partitions with something in them.
        for part in range(3):
            roles.load(size // 3, seed + 10 * round_ + part, 3 * round_ + part)
        before, total = total, total + 3 * (size // 3)
        goal = before + context.rng.randrange(0, size // 2)
        sleeper = folders[round_ % 2]
        until(lambda: roles.database.requests() >= goal, f"{goal} requests folded", 40, 0)
        sleeper.signal(signal.SIGSTOP)
        # The other one must get all partitions, and fold what the sleeper had begun: in its transaction, perhaps.
        try:
            roles.wait_folded(total, f"round {round_}: folded while one of two sleeps", 90)
        except Failure as failure:
            raise Failure(f"{failure}\n{who_waits(roles)}") from None
        sleeper.signal(signal.SIGCONT)
        # Awake, with the partitions that it believes are its own and the records that it holds.
        roles.load(size // 3, seed + 10 * round_ + 9, 27 - round_)
        total += size // 3
        roles.wait_folded(total, f"round {round_}: folded after the sleeper woke")
    for process in (*folders, pump):
        process.require_running()
    check_settled(roles, total)
    check_ledger(roles.database, context, roles.data)
    roles.start_serve()
    check_counted(roles.api, context.requests_logged(roles.data), 10)
    equal(roles.dead_letters(), {}, "dead letters")
    for process in (*folders, pump):
        equal(process.terminate(), 0, "exit code")
    context.note(f"{total} records")
    cluster.stop()


def who_waits(roles: KafkaRoles) -> str:
    """What the group and the sessions of the database are at, for a failure."""
    group = roles.broker.admin.describe_consumer_groups(["sluice-aggregator"])["sluice-aggregator"].result(15)
    lines = [f"group {group.state.name}, coordinator {group.coordinator}"]
    for member in group.members:
        lines.append(f"member {member.member_id}: {[part.partition for part in member.assignment.topic_partitions]}")
    sessions = roles.database.rows(
        "SELECT pid, application_name, state, wait_event_type, wait_event, pg_blocking_pids(pid),"
        " now() - query_start, left(query, 80) FROM pg_stat_activity"
        " WHERE application_name LIKE 'sluice%' ORDER BY pid")
    return "\n".join(lines + [str(row) for row in sessions])


@test(seconds=300, full_only=True)
def churn(context: Context) -> None:
    """three aggregators that join and leave every few seconds under load, cooperative and eager: exact"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    broker = Noida(context)  # Tansu needs ten seconds to settle a group: it never would here
    cluster = Cluster(context.directory)
    for assignor in ("cooperative-sticky", "range"):
        roles = KafkaRoles(
            context, cluster.create("usage_" + assignor[:5]), broker, relaxed(upstream, context),
            kafka={"topic": f"records-{assignor}", "group": f"group-{assignor}", "assignor": assignor})
        roles.migrate()
        roles.start_gateway()
        pump = roles.start_pump()
        slots: list[Process | None] = [roles.start_aggregator(), None, None]
        fleet = Fleet(
            context.directory, roles.gateway_port, context.seed, paced, processes=1, threads=4, name=assignor[:5])
        changes = 0
        for _ in range(7):
            fleet.wait_completed(fleet.completed + context.rng.randrange(2000, 4000))
            slot = context.rng.randrange(3)
            member = slots[slot]
            if member is None:
                slots[slot] = roles.start_aggregator()
            else:
                member.require_running()
                equal(member.terminate(), 0, "exit code of an aggregator that leaves")
                slots[slot] = None
            changes += 1
            if not any(slots):
                slots[0] = roles.start_aggregator()
        sent = fleet.finish()
        check(all(exchange.is_complete for exchange in sent), "a client noticed the aggregators")
        records = context.requests_logged(roles.data)
        try:
            roles.wait_folded(len(records), f"{assignor}: requests in the end", 60)
        except Failure:
            # noida-db keeps members that left during a rebalance, and the group stands still for ever; others settle.
            equal(broker.group_state(f"group-{assignor}"), "COMPLETING_REBALANCING", "state of the group")
            for member in filter(None, slots):
                equal(member.terminate(), 0, "exit code of an aggregator whose group does not settle")
            config = roles.variant(f"anew-{assignor}", kafka=roles.settings["kafka"] | {"group": f"anew-{assignor}"})
            slots = [roles.start_with("aggregator", config)]
            roles.wait_folded(len(records), f"{assignor}: requests in the end, by another group", 60)
            context.note(f"{assignor}: the broker's group stood still")
        stop_gateway(roles)
        roles.wait_shipped()
        check_settled(roles, len(records))
        check_ledger(roles.database, context, roles.data)
        equal(roles.dead_letters(), {}, f"{assignor}: dead letters")
        context.note(f"{assignor}: {changes} changes; {check_identities(records, sent)}")
        for process in (pump, *filter(None, slots)):
            equal(process.terminate(), 0, "exit code")
    cluster.stop()


@test(seconds=120, full_only=True)
def static_member(context: Context) -> None:
    """aggregators with `kafka.instance`: killed and started again they keep their partitions, exact"""
    context.note_seed()
    size = 9_000
    broker = Noida(context)
    cluster, roles = make_kafka_roles(context, broker)
    configs = [
        roles.variant(f"instance{number}", kafka=roles.settings["kafka"] | {"instance": f"folder-{number}", "assignor": "range"})
        for number in range(2)]
    roles.start_pump()
    folders = [roles.start_with("aggregator", config) for config in configs]
    total = 0
    for round_ in range(4):
        for part in range(3):
            roles.load(size // 3, context.seed % 100_000 + 10 * round_ + part, 3 * round_ + part)
        before, total = total, total + size
        goal = before + context.rng.randrange(0, size // 2)
        until(lambda: roles.database.requests() >= goal, f"{goal} requests folded", 60, 0)
        victim = round_ % 2
        folders[victim].require_running()
        folders[victim].kill()
        folders[victim] = roles.start_with("aggregator", configs[victim])
        roles.wait_folded(total, f"round {round_}")
    # The same instance twice: one of them is fenced off and must not harm the other.
    twin = roles.start_with("aggregator", configs[0])
    roles.load(size, context.seed % 100_000 + 99, 20)
    total += size
    roles.wait_folded(total, "while two claim to be the same instance")
    check(twin.is_running or folders[0].is_running, "both twins ended")
    check_settled(roles, total)
    check_ledger(roles.database, context, roles.data)
    cluster.stop()


@test(seconds=300, full_only=True)
def topic_changes(context: Context) -> None:
    """partitions added in flight; the topic made again; deleted with unread records and shipped again: exact"""
    context.note_seed()
    size = context.pick(quick=6_000, full=9_000)
    broker = Noida(context)
    # Both see added partitions soon; librdkafka looks every five minutes by default.
    cluster, roles = make_kafka_roles(
        context, broker, kafka={"client": {"topic.metadata.refresh.interval.ms": "500"}})
    pump = roles.start_pump()
    folders = [roles.start_aggregator(), roles.start_aggregator()]
    seed, total, day = context.seed % 1_000_000, 0, 0

    def more() -> None:
        nonlocal total, day
        for _ in range(3):
            day += 1
            roles.load(size // 3, seed + day, day)
            total += size // 3

    more()
    until(lambda: roles.database.requests() > 0, "folding has begun", 40, 0)
    broker.raise_partitions(9)
    more()
    roles.wait_folded(total, "after the partitions were raised")
    # New logs go to the new partitions, too, and are read from there.
    def is_used() -> bool:
        nonlocal total, day
        day += 1
        roles.load(500, seed + day, day)
        total += 500
        roles.wait_shipped()
        return any(message.partition >= 4 for message in broker.messages())

    until(is_used, "a log goes to an added partition", 30)
    roles.wait_folded(total, "logs on added partitions")
    check_topic(
        broker.messages(), context.log_records(roles.data), "after the partitions were raised", may_move=True)

    # Everything is folded, so the topic may go. With fewer partitions, lower offsets, and new records.
    broker.delete_topic(is_used=True)
    if context.rng.random() < 0.5:
        try:
            broker.create_topic(3)
        except KafkaException as error:
            # The pump asked for it first.
            equal(error.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS, "why the topic cannot be made")
    more()
    until(lambda: TOPIC in broker.topics(), "the topic is there again", 40, 0.1)
    roles.wait_folded(total, "after the topic was made again")
    for folder in folders:
        equal(folder.terminate(), 0, "exit code of an aggregator whose topic was made again")
    # Once more, now with records in it that nobody has read: they have to be shipped again.
    more()
    roles.wait_shipped()
    equal(pump.terminate(), 0, "exit code of the pump")
    broker.delete_topic()
    broker.create_topic(5)
    pump = roles.start_pump("--reship-from", "2025-01-01T00:00:00Z")
    # In a group of its own: noida-db's may never settle after members that left during a rebalance.
    config = roles.variant("anew", kafka=roles.settings["kafka"] | {"group": "aggregator-anew"})
    folder = roles.start_with("aggregator", config)
    roles.wait_folded(total, "after the topic was made again and everything reshipped")
    roles.wait_shipped()
    check_topic(broker.messages(), context.log_records(roles.data), "reshipped", may_move=True)
    pump.require_running()
    check_settled(roles, total)
    equal(folder.terminate(), 0, "exit code of the aggregator that read what was shipped again")
    check_ledger(roles.database, context, roles.data)
    equal(roles.dead_letters(), {}, "dead letters")
    context.note(f"{total} records")
    cluster.stop()
