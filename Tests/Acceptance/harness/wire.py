"""Record batches as they lie in a topic: fetched with hand-made Fetch requests, headers read byte by byte."""

from __future__ import annotations

import socket
import struct

from harness.checks import Failure, check

CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
FETCH, FETCH_VERSION = 1, 10  # the first version that hands out zstd


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _fetch(connection: socket.socket, topic: str, partition: int, position: int) -> tuple[int, bytes]:
    """High watermark and record bytes from a position on."""
    head = struct.pack(">hhi", FETCH, FETCH_VERSION, 7) + _text("wire")
    body = struct.pack(">iiiibii", -1, 100, 1, 1 << 20, 0, 0, -1)  # replica, wait, bytes, isolation, session
    body += struct.pack(">i", 1) + _text(topic) + struct.pack(">i", 1)
    body += struct.pack(">iiqqi", partition, -1, position, -1, 1 << 20) + struct.pack(">i", 0)
    connection.sendall(struct.pack(">i", len(head + body)) + head + body)
    size = struct.unpack(">i", _exactly(connection, 4))[0]
    answer = _exactly(connection, size)
    # correlation, throttle, error, session, topics, name, partitions
    place = 4 + 4 + 2 + 4 + 4
    place += 2 + struct.unpack_from(">h", answer, place)[0] + 4
    _, error, high, _, _, aborted = struct.unpack_from(">ihqqqi", answer, place)
    check(error == 0, f"Fetch of {topic} [{partition}] from {position}: error {error}")
    place += 4 + 2 + 8 + 8 + 8 + 4 + max(aborted, 0) * 16
    length = struct.unpack_from(">i", answer, place)[0]
    return high, answer[place + 4:place + 4 + max(length, 0)]


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise Failure("the broker closed the connection of a Fetch request")
        data += more
    return data


def codecs(port: int, topic: str, partitions: int) -> set[str]:
    """The codecs of all batches of a topic."""
    found: set[str] = set()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for partition in range(partitions):
            position = 0
            while True:
                high, data = _fetch(connection, topic, partition, position)
                place, before = 0, position
                while place + 61 <= len(data):
                    base, length = struct.unpack_from(">qi", data, place)
                    attributes, last = struct.unpack_from(">hi", data, place + 21)
                    if place + 12 + length > len(data):
                        break
                    found.add(CODECS.get(attributes & 7, str(attributes & 7)))
                    place, position = place + 12 + length, base + last + 1
                if position >= high or position == before:
                    break
    return found
