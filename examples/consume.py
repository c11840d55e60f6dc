#!/usr/bin/env python3
"""Reads the records of Sluice from Kafka, each one once, and prints them as lines of JSON.

Usage: consume.py --brokers HOST:PORT[,…] [--topic sluice.records] [--group NAME] [--until-end]
                  [--client PROPERTY=VALUE …] [--proto schemas/sluice/v1/request_record.proto]

Needs `protoc` (Debian: protobuf-compiler), and `pip install confluent-kafka protobuf`. It shows the four things
that every consumer in any language has to do; docs/consuming.md explains them:

  1. read the value with a class made from the proto;
  2. drop what was seen before, by (log id, offset): delivery is at least once;
  3. understand markers: messages without a value that account for offsets without a record;
  4. keep what it has seen together with its results. This one keeps it in memory, so it begins at the
     beginning each time; the place where yours would go to a database is marked below.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from bisect import bisect_right
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO = Path(__file__).resolve().parent.parent / "schemas/sluice/v1/request_record.proto"


def record_class(proto: Path):
    """Makes the class of records from the proto; `protoc --python_out` at build time does as well."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as file:
        subprocess.run(
            ["protoc", f"--proto_path={proto.parent}", f"--descriptor_set_out={file.name}", proto.name], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(Path(file.name).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for each in files.file:
        pool.Add(each)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sluice.v1.RequestRecord"))


class Ranges:
    """Offsets of one log that are accounted for, as ranges: one in the ordinary case, so memory stays small."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> bool:
        """Adds [start, end); False if all of it was there."""
        first = bisect_right(self.starts, start) - 1
        if first >= 0 and self.ends[first] >= end:
            return False
        first = first if first >= 0 and self.ends[first] >= start else first + 1
        last = bisect_right(self.starts, end)
        if first < last:
            start, end = min(start, self.starts[first]), max(end, self.ends[last - 1])
        self.starts[first:last], self.ends[first:last] = [start], [end]
        return True

    def gaps(self) -> list[tuple[int, int]]:
        """What is missing below the highest offset: not shipped yet, or lost."""
        ends, starts = [0, *self.ends], [*self.starts, self.ends[-1] if self.ends else 0]
        return [(end, start) for end, start in zip(ends, starts) if end < start]


class Reader:
    """Turns messages into records, each once."""

    def __init__(self, record_type) -> None:
        self.record_type = record_type
        self.seen: dict[str, Ranges] = {}
        self.ends: dict[str, int] = {}
        self.counts = {"records": 0, "repeated": 0, "skipped": 0, "strange": 0}

    def read(self, message):
        """The record of a message, or None: a repetition, a marker, or no message of Sluice."""
        headers = dict(message.headers() or [])
        try:
            log = str(uuid.UUID(headers["sluice-log"].decode()))
            offset = int(headers["sluice-offset"])
            schema = int(headers["sluice-schema"])
            marker = headers.get("sluice-marker", b"").decode()
            until = int(headers["sluice-until"]) if marker == "skip" else offset + 1
        except (KeyError, ValueError, AttributeError):
            return self.note("strange")
        if schema != 1:
            return self.note("strange")  # newer than this program: park it, do not guess
        seen = self.seen.setdefault(log, Ranges())
        if marker == "skip":
            # No record exists for [offset, until): filtered, damaged, expired … as sluice-reason says.
            if seen.add(offset, until):
                self.counts["skipped"] += until - offset
            return None
        if marker == "end":
            self.ends[log] = offset  # the log is complete when everything below is accounted for
            return None
        if marker or message.value() is None:
            return self.note("strange")
        try:
            record = self.record_type.FromString(message.value())
        except Exception:  # noqa: BLE001: bytes of a stranger may be anything
            return self.note("strange")
        if (record.log_id, record.offset) != (uuid.UUID(log).bytes, offset):
            return self.note("strange")  # the record itself says who it is; never trust the headers alone
        if not seen.add(offset, offset + 1):
            return self.note("repeated")
        self.counts["records"] += 1
        return record

    def note(self, kind: str) -> None:
        """Counts what is no new record."""
        self.counts[kind] += 1

    def summary(self) -> dict:
        """What was read, and whether each log is whole."""
        logs = {
            log: {"end": self.ends.get(log), "gaps": ranges.gaps(), "next": ranges.ends[-1] if ranges.ends else 0}
            for log, ranges in self.seen.items()}
        return self.counts | {"logs": logs}


def as_json(record) -> str:
    """A few fields of a record; the proto has them all."""
    fields = {
        "log_id": str(uuid.UUID(bytes=record.log_id)), "offset": record.offset, "kind": record.kind,
        "completed_at": record.completed_at, "org": record.org, "api": record.api, "route": record.route,
        "method": record.method, "path": record.path}
    # Fields marked `optional` in the proto: absent is not zero.
    for name in ("status", "duration_us"):
        if record.HasField(name):
            fields[name] = getattr(record, name)
    return json.dumps({name: value for name, value in fields.items() if value != ""})


def consume(arguments: argparse.Namespace) -> Reader:
    """Reads from the beginning on: until every partition's end, or for ever."""
    reader = Reader(record_class(arguments.proto))
    properties = {
        "bootstrap.servers": arguments.brokers, "group.id": arguments.group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(properties | dict(each.split("=", 1) for each in arguments.client))
    open_partitions = {
        number for number in consumer.list_topics(timeout=30).topics[arguments.topic].partitions}
    consumer.assign([TopicPartition(arguments.topic, number, 0) for number in open_partitions])
    try:
        while open_partitions or not arguments.until_end:
            for message in consumer.consume(1000, timeout=1.0):
                error = message.error()
                if error is None:
                    record = reader.read(message)
                    if record is not None:
                        print(as_json(record))
                        # Yours: in ONE database transaction, store the result, the ranges of reader.seen that
                        # grew, and the next position of the partition; at the start, seek to that position.
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
                elif not error.retriable():
                    sys.exit(f"consume.py: {error}")
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()
    return reader


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", required=True, help="HOST:PORT, several separated by commas")
    parser.add_argument("--topic", default="sluice.records")
    parser.add_argument("--group", default="consume-example", help="not Sluice's own group")
    parser.add_argument("--proto", type=Path, default=PROTO)
    parser.add_argument("--client", action="append", default=[], metavar="PROPERTY=VALUE", help="such as security.protocol=SSL")
    parser.add_argument("--until-end", action="store_true", help="stop where the topic ends now, and sum up on stderr")
    arguments = parser.parse_args()
    reader = consume(arguments)
    if arguments.until_end:
        print(json.dumps(reader.summary()), file=sys.stderr)


if __name__ == "__main__":
    main()
