"""The record format as a stranger has it: classes that protoc makes of the published proto."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from harness.checks import Failure, check

PROTO = Path(__file__).resolve().parents[3] / "schemas/sluice/v1/request_record.proto"


@cache
def record_class() -> type:
    """The message class `sluice.v1.RequestRecord`."""
    with tempfile.NamedTemporaryFile(suffix=".descriptors") as file:
        command = ["protoc", f"--proto_path={PROTO.parent}", f"--descriptor_set_out={file.name}", PROTO.name]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        except FileNotFoundError:
            raise Failure("protoc is not installed: run `scripts/setup.sh test`") from None
        files = descriptor_pb2.FileDescriptorSet.FromString(Path(file.name).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for each in files.file:
        pool.Add(each)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sluice.v1.RequestRecord"))


def decode(value: bytes) -> Any:
    """A record's fields."""
    return record_class().FromString(value)


def identity_of(value: bytes) -> tuple[str, int]:
    """Log id and offset inside a record."""
    record = decode(value)
    return str(uuid.UUID(bytes=record.log_id)), record.offset


def encode(log: str, offset: int, **fields: Any) -> bytes:
    """A request record as an intruder would make it; identity and version come first, as in the log."""
    version = fields.pop("schema_version", 1)
    record = record_class()(
        kind=1, outcome=1, org="acme", api="orders", route="__unmatched__", method="GET", status=200, duration_us=1000)
    for name, value in fields.items():
        setattr(record, name, value)
    # Offset 0 is written, too, which protobuf's own encoders leave out.
    identity = b"\x08" + varint(version) + b"\x12\x10" + uuid.UUID(log).bytes + b"\x18" + varint(offset)
    return identity + record.SerializeToString(deterministic=True)


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def headers(log: str, offset: int, **more: str) -> list[tuple[str, bytes]]:
    """The headers of a record or marker."""
    base = {"sluice-log": log, "sluice-offset": str(offset), "sluice-schema": "1"}
    return [(name, text.encode()) for name, text in (base | {k.replace("_", "-"): v for k, v in more.items()}).items()]


def message(log: str, offset: int, value: bytes | None, **more: str) -> dict[str, Any]:
    """A message for `Broker.produce`."""
    return {"key": log.encode(), "value": value, "headers": headers(log, offset, **more)}


def check_topic(
    messages: list[Any], logged: list[dict[str, Any]], what: str, may_move: bool = False,
) -> dict[str, int]:
    """Each record of the logs is in the topic at least once, with its own bytes, and nothing else is there.

    A log stays in one partition unless their number was raised. Returns the number of messages, records among
    them, repetitions and markers.
    """
    expected = {(record["log_id"], record["offset"]): record for record in logged if "offset" in record}
    found: dict[tuple[str, int], bytes] = {}
    repeated = markers = 0
    partitions: dict[str, int] = {}
    for one in messages:
        log = one.text("sluice-log")
        check(one.key == log.encode(), f"{what}: key {one.key!r} of a message of log {log}")
        check(one.text("sluice-schema") == "1", f"{what}: sluice-schema {one.text('sluice-schema')!r}")
        home = partitions.setdefault(log, one.partition)
        check(may_move or home == one.partition, f"{what}: log {log} is in the partitions {home} and {one.partition}")
        if one.marker:
            markers += 1
            check(one.value is None, f"{what}: a marker with a value: {one}")
            check(one.marker in ("skip", "end"), f"{what}: marker {one.marker!r}")
            continue
        check(one.value, f"{what}: a record without a value: {one.headers}")
        check(
            identity_of(one.value) == one.identity,
            f"{what}: headers say {one.identity}, the record {identity_of(one.value)}")
        if one.identity in found:
            repeated += 1
            check(found[one.identity] == one.value, f"{what}: {one.identity} has two contents")
        found[one.identity] = one.value
    missing = [identity for identity in expected if identity not in found]
    check(not missing, f"{what}: {len(missing)} of {len(expected)} records are not in the topic: {missing[:4]}")
    foreign = [identity for identity in found if identity not in expected]
    check(not foreign, f"{what}: {len(foreign)} messages are no records of the logs: {foreign[:4]}")
    for identity, value in found.items():
        check_fields(decode(value), expected[identity], f"{what}: {identity}")
    return {"messages": len(messages), "records": len(found), "repeated": repeated, "markers": markers}


def check_fields(record: Any, logged: dict[str, Any], what: str) -> None:
    """Some fields of a record against what `sluice log cat` prints."""
    for name in ("org", "api", "path", "key_id", "application", "response_bytes", "completed_at"):
        default = 0 if name in ("response_bytes", "completed_at") else ""
        left, right = getattr(record, name), logged.get(name, default)
        check(left == right, f"{what}: {name} is {left!r}, in the log {right!r}")
    if "status" in logged:
        check(record.status == logged["status"], f"{what}: status {record.status}, in the log {logged['status']}")
