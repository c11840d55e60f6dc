"""Whoever may write to the topic: strange messages hurt nobody else's numbers, and are kept with a reason."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import Any

from harness.broker import TOPIC, Broker, Noida, Tansu
from harness.checks import check, equal, settles, until
from harness.context import Context
from harness.database import Cluster
from harness.kafka_roles import KafkaRoles
from harness.records import encode, headers, message
from harness.registry import test
from harness.traffic import Fleet
from harness.upstream import Upstream
from test_crash import check_identities, relaxed
from test_kafka_crash import paced

ALL_TIME = {"from_": "2000-01-01T00:00:00Z"}
EVIL = "evil"
# Offsets of a log that arrive with holes between them: more than the ranges that are kept of one log.
PIECES = 1500


def hostile_messages(
    context: Context, log: str, next_offset: int, captured: list[Any],
) -> tuple[list[dict[str, Any]], Counter]:
    """Messages that claim to be of a genuine log, or of none, and the reasons that we expect for them."""
    rng, sent, reasons = context.rng, [], Counter()
    now = int(time.time() * 1e6)

    def add(reason: str, one: dict[str, Any], count: int = 1) -> None:
        sent.append(one)
        if reason:
            reasons[reason] += count

    stranger = str(uuid.UUID(int=rng.getrandbits(128)))
    # What says nothing of itself, or something unreadable.
    add("unidentified", {"value": rng.randbytes(300)})
    add("unidentified", {"value": b"", "key": b""})
    add("unidentified", {"value": None, "key": b"\xff\xfe"})
    add("unidentified", {"key": log.encode(), "value": rng.randbytes(200), "headers": headers(log, next_offset + 3)})
    unnamed = message(log, 5, encode(log, 5, org=EVIL))
    unnamed["headers"] = [(n, b"not-a-uuid" if n == "sluice-log" else v) for n, v in unnamed["headers"]]
    add("unidentified", unnamed)
    for text in ("-1", "", "12x", "99999999999999999999999"):
        one = message(log, 0, encode(log, 0, org=EVIL))
        one["headers"] = [(n, text.encode() if n == "sluice-offset" else v) for n, v in one["headers"]]
        add("unidentified", one)
    # Headers, key and record that differ.
    add("identity_mismatch", message(log, next_offset + 4, encode(stranger, next_offset + 4, org=EVIL)))
    add("identity_mismatch", message(log, next_offset + 5, encode(log, next_offset + 6, org=EVIL)))
    add("identity_mismatch", message(stranger, 0, encode(log, next_offset + 7)))
    add("identity_mismatch", message(log, next_offset + 8, encode(log, next_offset + 8)) | {"key": stranger.encode()})
    # Another organisation's usage in a log that may not bill it: near offsets, which the log itself will use soon.
    for step in (0, 1, 2, 10, 50, 200):
        offset = next_offset + step
        add("wrong_org", message(log, offset, encode(log, offset, org=EVIL, completed_at=now)))
    # Offsets far away.
    for offset in (next_offset + 20_000_000, 1 << 40, (1 << 62) + 5, (1 << 63) - 1):
        add("offset_ahead", message(log, offset, encode(log, offset, completed_at=now)))
    for until in (next_offset + 20_000_000, (1 << 63) - 1):
        add("offset_ahead", message(
            log, next_offset, None, sluice_marker="skip", sluice_until=str(until), sluice_reason="damaged"))
    add("offset_ahead", message(log, 1 << 50, None, sluice_marker="end"))
    # Markers that are none.
    add("invalid_marker", message(log, next_offset, None))
    add("invalid_marker", message(log, next_offset, None, sluice_marker="drop"))
    add("invalid_marker", message(log, next_offset, None, sluice_marker="skip", sluice_reason="damaged"))
    add("invalid_marker", message(
        log, next_offset, None, sluice_marker="skip", sluice_until=str(next_offset), sluice_reason="damaged"))
    add("invalid_marker", message(log, next_offset, encode(log, next_offset), sluice_marker="skip"))
    # 10 MB, under a genuine name and under none.
    add("too_large", message(log, next_offset + 9, encode(log, next_offset + 9, user_agent="x" * 10_000_000)))
    add("unidentified", {"value": rng.randbytes(10_000_000)})
    # A log of its own: cut records, a newer schema, no time. Its offsets are its own to lose.
    own = encode(stranger, 0, org=EVIL, completed_at=now, path="/" + "x" * 200)
    add("malformed", message(stranger, 0, own[:-100]))
    add("malformed", message(stranger, 1, encode(stranger, 1, org=EVIL, completed_at=now)[:-1]))
    newer = encode(stranger, 2, org=EVIL, completed_at=now, schema_version=9)
    add("schema_newer", message(stranger, 2, newer))
    add("no_time", message(stranger, 3, encode(stranger, 3, org=EVIL)))
    add("future", message(stranger, 4, encode(stranger, 4, org=EVIL, completed_at=now + 10 * 86_400_000_000)))
    # What was folded already, once more, and cut short under its own name: dropped without a word.
    for one in rng.sample(captured, min(50, len(captured))):
        again = {"key": one.key, "value": one.value, "headers": list(one.headers.items())}
        sent.append(again)
        sent.append(again | {"value": one.value[:-2]})
    rng.shuffle(sent)
    return sent, reasons


def counted_pieces(roles: KafkaRoles) -> int:
    """How many pieces of the log in a thousand pieces were folded or parked."""
    parked = roles.dead_letters().get("fragmented", 0)
    return parked + (roles.api.total(filter=[f"org:eq:{EVIL}"], **ALL_TIME) or 0)


@test(seconds=150, full_only=True)
def hostile(context: Context) -> None:
    """a hostile producer: everybody else's numbers are exact, its own messages are in the dead letters with a reason"""
    context.note_seed()
    upstream = Upstream()
    upstream.ask("forget")
    cluster = Cluster(context.directory)
    kinds: list[type[Broker]] = context.pick(quick=[Noida], full=[Tansu, Noida])
    for kind in kinds:
        broker = kind(context)
        broker.create_topic(4, TOPIC, **{"max.message.bytes": "16000000"})
        roles = KafkaRoles(
            context, cluster.create(f"usage_{kind.kind}"), broker, relaxed(upstream, context))
        roles.migrate()
        roles.start_serve()
        roles.start_gateway()
        roles.start_pump()
        folders = [roles.start_aggregator()]
        fleet = Fleet(
            context.directory, roles.gateway_port, context.seed, paced, processes=1, threads=2, name=f"{kind.kind}-")
        fleet.wait_completed(400)
        # The log of a lane that is in use, all of whose records up to now were folded.
        settled = fleet.completed
        roles.wait_at_least(settled)
        expected: Counter = Counter()
        for _ in range(1):
            captured = [one for one in broker.messages() if not one.marker and one.identity[1] > 0]
            log = Counter(one.identity[0] for one in captured).most_common(1)[0][0]
            last = max(one.identity[1] for one in captured if one.identity[0] == log)
            # Somewhat ahead: traffic goes on, and an offset that was used meanwhile would be a mere repetition.
            messages, reasons = hostile_messages(context, log, last + 5000, captured)
            expected += reasons
            errors = broker.produce(messages)
            check(not errors, f"{kind.kind} refused messages of the intruder: {errors[:3]}")
            fleet.wait_completed(fleet.completed + 300)
        # A log in a thousand pieces is stopped, and only that one.
        shreds = str(uuid.UUID(int=context.rng.getrandbits(128)))
        now = int(time.time() * 1e6)
        errors = broker.produce([
            message(shreds, 2 * number, encode(shreds, 2 * number, org=EVIL, completed_at=now))
            for number in range(PIECES)])
        check(not errors, f"{kind.kind} refused pieces of a log: {errors[:3]}")
        # The genuine log reaches the offsets that the intruder claimed.
        fleet.wait_completed(fleet.completed + context.pick(quick=1500, full=5000), 60)
        sent = fleet.finish()
        records = context.requests_logged(roles.data)
        context.note(f"{kind.kind}: {check_identities(records, sent)}")
        others = {"filter": f"org:ne:{EVIL}", **ALL_TIME}
        roles.api.wait_total(len(records), f"{kind.kind}: everybody else's requests", 60, **others)
        found = Counter((record.get("api"), record.get("status"), record.get("outcome")) for record in records)
        equal(Counter(roles.api.tally("api,status,outcome", **others)), found, f"{kind.kind}: everybody else's rollups")
        check(all(process.is_running for process in folders), "an aggregator ended")

        # Their partition may be behind those that everybody else's requests came through.
        settles(lambda: counted_pieces(roles), PIECES, f"{kind.kind}: pieces of a log, counted or parked", 60)
        letters = roles.settled_dead_letters(sum(expected.values()))
        fragmented = letters.pop("fragmented", 0)
        check(400 <= fragmented <= 600, f"{kind.kind}: {fragmented} of {PIECES} pieces of a log are parked as fragmented")
        equal(letters, dict(expected), f"{kind.kind}: dead letters by reason")
        # The intruder's own log counts for nobody else; what it got in is known by its organisation.
        evil = roles.api.total(filter=[f"org:eq:{EVIL}"], **ALL_TIME) or 0
        equal(evil, PIECES - fragmented, f"{kind.kind}: requests counted for the intruder's organisation")
        details = roles.database.rows(
            "SELECT DISTINCT reason FROM sluice.dead_letter WHERE detail IS NULL OR detail = ''")
        equal(details, [], f"{kind.kind}: dead letters without a detail")
        longest = roles.database.integer("SELECT max(length(record)) FROM sluice.dead_letter")
        check(longest < 2 << 20, f"{kind.kind}: a dead letter of {longest} bytes is kept whole")
        roles.database.check_rows()
        context.note(f"{kind.kind}: {sum(expected.values()) + fragmented} dead letters: {dict(expected)}")
        roles.stop_all()
    cluster.stop()


@test(seconds=60)
def generous(context: Context) -> None:
    """a broker that answers a fetch with more than a client takes: the aggregator says what to set, and then reads on"""
    size = 2000
    cluster = Cluster(context.directory)
    broker = Noida(context)
    roles = KafkaRoles(context, cluster.create("generous"), broker, kafka={"client": {
        "message.max.bytes": "10000", "fetch.max.bytes": "20000", "receive.message.max.bytes": "21000"}})
    roles.migrate()
    roles.load(size, 1)
    pump = roles.start_pump()
    roles.wait_shipped()
    folder = roles.start_aggregator()
    until(
        lambda: "set kafka.client.receive.message.max.bytes" in folder.output(), "the aggregator says what to set", 20)
    equal(roles.database.requests(), 0, "requests folded from answers that were dropped")
    equal(folder.terminate(), 0, "exit code of the aggregator")
    roles.settings["kafka"]["client"] |= Noida.client
    roles.save()
    folder = roles.start_aggregator()
    roles.wait_folded(size, "with a higher limit")
    for process in (pump, folder):
        equal(process.terminate(), 0, "exit code")
    cluster.stop()
