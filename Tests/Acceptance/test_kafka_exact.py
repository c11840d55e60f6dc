"""Through real brokers: the same numbers as without one, whatever the codec and however often transports change."""

from __future__ import annotations

from harness.broker import Broker, Noida, Tansu
from harness.checks import check, equal, until
from harness.combined_log import AccessLog
from harness.context import Context
from harness.database import Cluster
from harness.deployment import Up
from harness.kafka_roles import KafkaRoles, check_settled, make_kafka_roles
from harness.records import check_topic
from harness.registry import test
from harness.traffic import gateway_settings, run_workers
from harness.upstream import Upstream
from harness.wire import codecs
from test_crash import check_counted, check_ledger
from test_gateway import check_everything, mixed
from test_import import check_log

def check_codec(broker: Broker, topic: str, codec: str) -> None:
    """Batches travel with the codec asked for; a few that it would not make smaller may go without."""
    found = codecs(broker.port, topic, broker.topics()[topic])
    check(codec in found and found <= {codec, "none"}, f"{broker.kind}, {topic}: codecs of the batches are {found}")


@test(seconds=150)
def real_log(context: Context) -> None:
    """the real log through real brokers gives exactly DuckDB's numbers, with every codec"""
    path, _ = context.access_log()
    oracle = AccessLog(path)
    cluster = Cluster(context.directory)
    cases = context.pick(
        quick=[(Tansu, "none"), (Noida, "zstd")],
        full=[(Tansu, "none"), (Tansu, "zstd"), (Noida, "zstd"), (Noida, "lz4"), (Noida, "snappy"), (Noida, "none")])
    brokers: dict[type, Broker] = {}
    for number, (kind, codec) in enumerate(cases):
        broker = brokers.get(kind) or brokers.setdefault(kind, kind(context))
        topic = f"records-{codec}"
        roles = KafkaRoles(
            context, cluster.create(f"usage{number}"), broker,
            kafka={"topic": topic, "client": {"compression.type": codec}})
        roles.migrate()
        pump, folder, serve = roles.start_pump(), roles.start_aggregator(), roles.start_serve()
        context.run(
            "import", "--config", roles.config, "--format", "combined", "--org", "acme", "--api", "web", "--wait", path,
            environment=roles.environment)
        # --wait has returned: everything is visible, without waiting here.
        what = f"{broker.kind} with {codec}"
        check_log(roles.api, oracle, what)
        check_codec(broker, topic, codec)
        shipped = check_topic(broker.messages(topic), context.log_records(roles.data), what)
        context.note(f"{what}: {shipped}")
        check_settled(roles, 10_000)
        equal(pump.terminate(), 0, f"{what}: exit code of the pump")
        equal(folder.terminate(), 0, f"{what}: exit code of the aggregator")
        serve.kill()
    cluster.stop()


@test(seconds=150, alone=True, full_only=True)
def tally(context: Context) -> None:
    """all kinds of requests over `sluice up` with a broker in the middle: records and rollups equal the client's tally"""
    context.note_seed()
    broker = Tansu(context)
    upstream = Upstream()
    gateway = gateway_settings(upstream.url, context.refusing_port())
    up = Up(
        context, gateway, environment=broker.environment, transport="kafka", kafka=broker.settings()).start()
    exchanges = run_workers(
        context.directory, up.gateway_port, context.seed, mixed, processes=2, threads=8,
        seconds=context.pick(quick=3, full=10))
    check_everything(context, up, exchanges, 60)
    context.note(f"{len(exchanges)} requests")
    records = context.requests_logged(up.data)
    up.stop()
    shipped = check_topic(broker.messages(), context.log_records(up.data), "the topic")
    check(shipped["records"] >= len(records), f"{shipped}")
    context.note(f"in the topic: {shipped}")


@test(seconds=150, full_only=True)
def switched(context: Context) -> None:
    """`transport` changed to and fro over the same logs, and both at once: nothing lost, nothing twice"""
    context.note_seed()
    size = 10_000
    broker = Noida(context)
    cluster, roles = make_kafka_roles(context, broker)
    local = roles.variant("local", transport="local")
    seed, total = context.seed % 1_000_000, 0

    def more(what: str) -> None:
        nonlocal total
        total += size
        roles.load(size, seed + total, total // size)
        roles.wait_folded(total, what)

    # Local first, while nothing is shipped.
    folder = roles.start_with("aggregator", local)
    more("local")
    equal(folder.terminate(), 0, "exit code of the local aggregator")
    # The pump ships what was counted already, and more.
    pump = roles.start_pump()
    folder = roles.start_aggregator()
    more("kafka")
    roles.wait_shipped()
    check(len(broker.messages()) >= total, "the pump did not ship what had been counted before")
    # Both at once, three times over.
    other = roles.start_with("aggregator", local)
    for round_ in range(3):
        more(f"both at once, {round_}")
    # Back to local; the pump goes on for a while and then stops.
    equal(folder.terminate(), 0, "exit code of the Kafka aggregator")
    more("local again")
    equal(pump.terminate(), 0, "exit code of the pump")
    more("local alone")
    other.kill()
    # And to Kafka once more, with a pump that has some catching up to do.
    folder = roles.start_aggregator()
    pump = roles.start_pump()
    more("kafka again")
    until(lambda: roles.lag() == 0, "everything shipped", 30)
    check_settled(roles, total)
    roles.start_serve()
    check_counted(roles.api, context.requests_logged(roles.data), 10)
    check_ledger(roles.database, context, roles.data)
    check_topic(broker.messages(), context.log_records(roles.data), "the topic")
    context.note(f"{total} records")
    cluster.stop()


@test(seconds=60)
def checked(context: Context) -> None:
    """`sluice check` refuses what would lose records, with lines, and knows librdkafka's properties"""
    def verdict(code: int, **kafka: object) -> str:
        config = context.configuration({
            "transport": "kafka", "kafka": {"brokers": ["127.0.0.1:9092"]} | kafka}, "check.yaml")
        result = context.run("check", "--config", config, code=code)
        return (result.stdout + result.stderr).decode()

    verdict(0, client={
        "compression.type": "zstd", "security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "u",
        "sasl.password": "p"})
    for name, value in {
        "acks": "1", "enable.idempotence": "false", "message.timeout.ms": "300000", "auto.offset.reset": "latest",
        "enable.auto.commit": "true", "partitioner": "random", "transactional.id": "x", "bootstrap.servers": "x:1",
    }.items():
        text = verdict(2, client={name: value})
        check(name in text, f"`sluice check` of {name}={value} does not name it: {text[:400]}")
    for name, value in {"no.such.property": "1", "linger.ms": "soon"}.items():
        text = verdict(2, client={name: value})
        check(name in text, f"`sluice check` of {name}={value} does not name it: {text[:400]}")
    text = verdict(2, client={"sasl.password": "hunter2", "acks": "0"})
    check("hunter2" not in text, "a password is printed")
